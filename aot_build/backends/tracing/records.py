"""Read and steer the log that tracer.c writes. The format is described in tracer/log.h."""

import ctypes
import functools
import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, cast

Kind = Literal["r", "w", "s", "a", "d", "x", "u", "e", "l"]
"""See tracer.c: read, written, found, absent, folder listed, executed (unseen: u), environment
variable looked up, library loaded."""

_MAGIC = b"AOTTRACE"
_VERSION = 2
_HEAD = struct.Struct("<8sIIQQIII")
_RECORDS = 4096 + 8 * 65536
_CAPACITY = 256 << 20
_RESERVED = _RECORDS + (1 << 20)
"""Taken from the disk beforehand: writing through a mapping to a full disk kills the writer."""
_CLAIMED, _MARKS = 2, 7
# Its word's lowest byte is never NUL, the other three never begin a character.
_RECORD = re.compile(r".{4}(.)([^\0]*)\0+", re.DOTALL)
_FLAGS = {
    1: "the log is full",
    2: "a path could not be told",
    4: "a process could not map the log",
}


@dataclass(frozen=True)
class Log:
    """What the processes of an action did, in order; each thing is told about once."""

    records: list[tuple[Kind, str]]
    """Kind and absolute path, not normalised; of `e` the name of the variable."""
    reason: str = ""
    """Why something may be missing; empty where nothing is."""
    strays: bool = False
    """Whether a program ran that the tracer did not reach."""

    @property
    def whole(self) -> bool:
        return not self.reason and not self.strays


def create(path: str) -> None:
    """Make an empty log. Raises OSError, where the disk is full too."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        os.posix_fallocate(descriptor, 0, _RESERVED)
        os.ftruncate(descriptor, _CAPACITY)
        head = _HEAD.pack(_MAGIC, _VERSION, 0, _CAPACITY, _RECORDS, 0, 0, 0)
        os.pwrite(descriptor, head, 0)
    finally:
        os.close(descriptor)


def read(path: str) -> Log:
    """All records; of a damaged log those that can be read. Never raises for its content."""
    try:
        with open(path, "rb", buffering=0) as stream:
            head = stream.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return Log([], "the log is cut off")
            magic, version, flags, capacity, tail, unfinished, announced, arrived = _HEAD.unpack(
                head
            )
            if (magic, version) != (_MAGIC, _VERSION):
                return Log([], "this is no log")
            stream.seek(_RECORDS)
            # Behind a killed process, the tail may lie one record too early.
            content = stream.read(min(tail, capacity) - _RECORDS + bool(unfinished) * 65536)
    except (OSError, ValueError) as error:
        return Log([], f"the log cannot be read: {error}")
    reasons = [words for flag, words in _FLAGS.items() if flags & flag]
    if unfinished:
        reasons.append("a process was ended while it wrote")
        content = _without_torn(content)
    records = cast("list[tuple[Kind, str]]", _RECORD.findall(os.fsdecode(content)))
    return Log(records, "; ".join(reasons), strays=arrived < announced)


def _without_torn(content: bytes) -> bytes:
    """The finished records: an unfinished one holds anything, but its size is right."""
    kept, at = [], 0
    while at + 4 <= len(content):
        word = int.from_bytes(content[at : at + 4], "little")
        size = word & ~_MARKS
        if not size:
            break
        if not word & _CLAIMED:
            kept.append(content[at : at + size])
        at += size
    return b"".join(kept)


# The library in this process


@functools.cache
def _library() -> ctypes.CDLL | None:
    process = ctypes.CDLL(None)
    return process if hasattr(process, "aot_trace_begin") else None


def loaded() -> bool:
    """Whether this process was started with the library."""
    return _library() is not None


def begin(path: str, muted: bool = False) -> bool:
    """Write to a log from here on, what this process starts included; False where that is not
    possible. `muted`: of this process only the programs that it executes are told."""
    library = _library()
    return library is not None and library.aot_trace_begin(os.fsencode(path), int(muted)) == 0


def end() -> None:
    """Write no more; what was started meanwhile goes on."""
    if library := _library():
        library.aot_trace_end()


def look_up(name: str) -> None:
    """Have the log say that an environment variable was looked up."""
    if library := _library():
        library.getenv(os.fsencode(name))


class _Mute:
    """A thread that is muted twice must be freed twice."""

    def __init__(self) -> None:
        library = _library()
        self._by: Callable[[int], object] = library.aot_trace_mute if library else _nothing

    def __enter__(self) -> None:
        self._by(1)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._by(-1)


def _nothing(by: int) -> None:
    pass


@functools.cache
def mute() -> _Mute:
    """`with mute():` nothing that this thread does is told, but for programs that it executes."""
    return _Mute()
