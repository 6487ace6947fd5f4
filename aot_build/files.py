"""Files: atomic writes, verified copies, and digests that are not taken twice."""

import contextlib
import hashlib
import os
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from aot_build.digest import CHUNK, file_digest

RACY_NS = 2_000_000_000
"""A file changed this shortly before it was digested may change again without its stat showing."""

Stat = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, mtime_ns, ctime_ns."""


def stat_row(path: str | Path) -> Stat:
    """What the stat index and the snapshot compare. Raises OSError."""
    return _as_row(os.stat(path))


def _as_row(found: os.stat_result) -> Stat:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def unchanged(path: str, since_ns: int) -> bool:
    """Whether a file was not written, and nothing put into a folder or taken out of it, since then
    (Unix time)."""
    try:
        row = stat_row(path)
    except OSError:
        return False
    return max(row[3], row[4]) < since_ns


def stamp_ns() -> int:
    """Now (Unix time), by the clock that file systems stamp files with: it goes by the kernel's
    ticks, some milliseconds behind the other."""
    coarse = getattr(time, "CLOCK_REALTIME_COARSE", 5)
    return time.clock_gettime_ns(coarse) if sys.platform == "linux" else time.time_ns()


def is_racy(row: Stat, now_ns: int) -> bool:
    """Whether a later write could leave this very stat behind."""
    return now_ns - max(row[3], row[4]) < RACY_NS


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it takes the place of `path` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        if sync:
            sync_file(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, content: bytes, *, sync: bool = False) -> None:
    """Write a whole file or nothing. Raises OSError."""
    with replacing(path, sync=sync) as temporary:
        temporary.write_bytes(content)


def read_at_once(path: Path) -> bytes:
    """A file's bytes; nothing where it is a pipe, for which others would wait. Raises OSError."""
    with open(path, "rb", buffering=0, opener=open_at_once) as stream:
        return stream.read()


def open_at_once(path: str, flags: int) -> int:
    """An opener that waits for no writer of a pipe; to a regular file it is all the same."""
    return os.open(path, flags | os.O_NONBLOCK)


def sync_file(path: Path) -> None:
    """Have a file's bytes on disk before its name is relied upon."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_verified(source: Path, target: Path, digest: str, mode: int = 0o644) -> bool:
    """Copy a blob, taking its SHA-256 on the way; False, and nothing written, where it differs."""
    taken = hashlib.sha256()
    try:
        with replacing(target) as temporary:
            with (
                open(source, "rb", buffering=0, opener=open_at_once) as reader,
                open(temporary, "wb") as writer,
            ):
                while chunk := reader.read(CHUNK):
                    taken.update(chunk)
                    writer.write(chunk)
                os.fchmod(writer.fileno(), mode)
            if taken.hexdigest() != digest:
                raise _WrongBytes
    except _WrongBytes:
        return False
    return True


class _WrongBytes(Exception):
    """Leaves `replacing` without renaming."""


class _Row(msgspec.Struct, array_like=True, frozen=True):
    stat: Stat
    digest: str


class StatIndex:
    """Digests of input files by path, valid while device, inode, size, mtime and ctime stay.

    One build asks for each file once: a file that changes under a running build keeps the digest
    it was first seen with.
    """

    def __init__(self, path: Path | None = None, take: Callable[[str], str] = file_digest) -> None:
        """Kept in `path` between builds; `take` is the digest to take of a file."""
        self._path = path
        self._take = take
        self._kept: dict[str, _Row] = _read_rows(path) if path else {}
        self._seen: dict[str, _Row | None] = {}
        self._seen_at: dict[str, int] = {}
        self.read = 0
        """How many files had to be read."""
        self.racy: set[str] = set()
        """Those of them that had changed so shortly before that their stat proves nothing."""

    def digest(self, path: str) -> str | None:
        """xxh3-128 of the file, if nothing else was asked for; None where there is no regular
        file."""
        if path in self._seen:
            row = self._seen[path]
            return row.digest if row else None
        self._seen_at[path] = now = time.time_ns()
        row = self._seen[path] = self._look(path, now)
        return row.digest if row else None

    def _look(self, path: str, now: int) -> _Row | None:
        try:
            row = _regular_row(path)
            if row is None:
                return None
            kept = self._kept.get(path)
            if kept is not None and kept.stat == row:
                return kept
            self.read += 1
            if is_racy(row, now):
                self.racy.add(path)
            return _Row(row, self._take(path))
        except OSError:
            return None

    def rows(self) -> dict[str, Stat]:
        """What was seen by this build: path -> stat at the time of its digest."""
        return {path: row.stat for path, row in self._seen.items() if row is not None}

    def held_since(self, path: str, since_ns: int) -> bool:
        """Whether a file is the same since `since_ns` (Unix time), and as it was digested."""
        try:
            now = _regular_row(path)
        except OSError:
            now = None
        if path in self._seen:
            known = self._seen[path]
            if now != (known.stat if known else None):
                return False
            if self._seen_at[path] < since_ns:
                return True
        # Digested afterwards, it may not be what was read.
        return now is not None and max(now[3], now[4]) < since_ns

    def save(self) -> None:
        """Keep what was seen for the next build, racy rows left out. Does nothing on OSError."""
        if self._path is None:
            return
        rows = {p: r for p, r in self._seen.items() if r is not None and p not in self.racy}
        with contextlib.suppress(OSError):
            write_atomic(self._path, msgspec.msgpack.encode(rows))


def _regular_row(path: str) -> Stat | None:
    """None for what is no regular file: opening a pipe would wait for ever. Raises OSError."""
    found = os.stat(path)
    return _as_row(found) if stat.S_ISREG(found.st_mode) else None


def _read_rows(path: Path) -> dict[str, _Row]:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=dict[str, _Row])
    except (OSError, msgspec.MsgspecError):
        return {}
