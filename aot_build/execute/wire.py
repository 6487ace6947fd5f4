"""What pool, forkserver and worker say to each other.

Pool and forkserver share one stream socket. Each message is its length (8 bytes, little-endian)
and a msgpack array that starts with the message's name; the first byte of a Run carries the
descriptor of the pipe that the worker answers on (SCM_RIGHTS, unix(7)).

An answer is a tag (`o`: returned, `e`: raised, `c`, `k`, `m`: a program that it called crashed, was
killed, or ran out of memory), the bytes of memory that the worker came to need, the length of the
body (8 bytes each), and the body.
"""

import os
import socket
import struct
from collections.abc import Iterator

import msgspec

from aot_build.execute.protocol import Job

LENGTH = struct.Struct("<Q")
ANSWER = struct.Struct("<cQQ")
OK, ERROR, CRASHED, KILLED, MEMORY = b"o", b"e", b"c", b"k", b"m"


class Run(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Start a job."""

    job: Job


class Import(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Import modules for all later jobs; those that are not `trusted` are tried in a fork first."""

    modules: tuple[str, ...]
    trusted: bool = False


class Ended(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """A worker is gone, and so is everything that it had started."""

    id: int
    status: int
    """Exit status, or the negated number of the signal that ended it."""
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    timed_out: bool = False
    starved: bool = False
    """The kernel killed something for lack of memory while it ran."""
    note: str = ""
    """Why it did not even start, or was ended."""


class Sampled(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """A job has come to occupy much more or less memory than was told last, with all that it
    started."""

    id: int
    bytes: int


class Imported(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """What came of an Import."""

    modules: tuple[str, ...]
    refused: dict[str, str]
    """Module -> why not."""


_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(Run | Import)
_reports = msgspec.msgpack.Decoder(Ended | Sampled | Imported)


def frame(message: msgspec.Struct) -> bytes:
    """One message as it is sent."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body


def send(channel: socket.socket, message: msgspec.Struct, descriptor: int | None = None) -> None:
    """Send one message, whole. Raises OSError where the other side is gone."""
    content = frame(message)
    sent = 0
    if descriptor is not None:
        sent = socket.send_fds(channel, [content], [descriptor])
    channel.sendall(memoryview(content)[sent:])


def receive(channel: socket.socket) -> tuple[Run | Import | None, int | None]:
    """Wait for the pool's next message and its descriptor; (None, None) where the pool is gone."""
    try:
        head, descriptors, _, _ = socket.recv_fds(channel, LENGTH.size, 1)
        if not head:
            return None, None
        (length,) = LENGTH.unpack(head + _exactly(channel, LENGTH.size - len(head)))
        body = _exactly(channel, length)
    except (EOFError, ConnectionError):
        return None, None
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return _requests.decode(body), next(iter(descriptors), None)


def _exactly(channel: socket.socket, count: int) -> bytearray:
    content = bytearray(count)
    view = memoryview(content)
    while view:
        got = channel.recv_into(view)
        if not got:
            raise EOFError
        view = view[got:]
    return content


class Reports:
    """The forkserver's messages, out of whatever pieces of the stream arrive."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, piece: bytes) -> Iterator[Ended | Sampled | Imported]:
        """Take a piece; give the messages that it completes."""
        self._pending += piece
        while len(self._pending) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._pending)
            end = LENGTH.size + length
            if len(self._pending) < end:
                return
            message = _reports.decode(self._pending[LENGTH.size : end])
            del self._pending[:end]
            yield message
