"""Who uses a cache: what a running build has hit or published stays until that build ends.

All of it is byte-range locks on one empty file, `<cache>/leases-v1` (open file description locks,
fcntl(2)). The kernel drops them with their process, so nothing is ever left behind:

    below 2**32     leases of builds that cannot mark what they use: beside them nothing goes
    above           leases of the others; the offset says when each began, in milliseconds of Unix
                    time, followed by ten random bits
    GATE            shared while a build marks a file, exclusive while files are removed
    COLLECTOR       whoever collects; one at a time

A build marks what it uses by the file's mtime, unless that is younger than REFRESH before the
build began: so a file that is in use is one that is not older than that, by the oldest lease.
"""

import contextlib
import fcntl
import os
import secrets
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from aot_build.errors import EnvironmentProblem
from aot_build.store import ranges

NAME = "leases-v1"
REFRESH = 3600.0
"""Seconds: a file is marked at most this often."""
WITHOUT_LOCKS = 86400.0
"""Seconds for which everything counts as in use where builds cannot be seen."""
STUCK = 5.0
"""Seconds after which a build goes on without the gate: its holder was stopped, and looks at the
clock before it removes anything."""
COUNT_BITS = 10
UNMARKED = 1 << 32
GATE = 1 << 62
COLLECTOR = GATE + 1


class Leases:
    """The leases of one cache directory, as one build or one collector sees and holds them.

    Where the file cannot be opened, or has no locks, there are none: `broken` says why.
    """

    def __init__(self, root: Path, *, writable: bool = True) -> None:
        self.broken = "" if ranges.AVAILABLE else "no locks on open files here"
        self.fresh_ns = 0
        """Files with a younger mtime (Unix time) are in use by this lease without being marked."""
        self._writable = writable
        self._start = -1
        self._patience = STUCK
        self.refused = ""
        """Why no lock can be had that excludes others."""
        self._descriptor = self._open(root / NAME)
        self._close = weakref.finalize(self, _closed, self._descriptor)

    def _open(self, path: Path) -> int:
        """Locks that are shared need no more than a file that can be read."""
        if self._writable:
            try:
                return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except OSError as error:
                self.refused = str(error)
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self.broken = self.refused
        except OSError as error:
            self.broken = str(error)
        return -1

    def close(self) -> None:
        """Give everything back."""
        self._close()
        self._descriptor = -1

    def now_ns(self) -> int:
        """Unix time by the clock of the file system, which need not be ours."""
        with contextlib.suppress(OSError):
            if self._writable and self._descriptor >= 0:
                os.utime(self._descriptor)
                return os.fstat(self._descriptor).st_mtime_ns
        return time.time_ns()

    # A build

    def begin(self) -> None:
        """Be a running build from here on."""
        if not self._writable:
            self.keep_everything()
            return
        with self.gate():
            began = self.now_ns()
            self._move((began // 1_000_000 << COUNT_BITS) + secrets.randbits(COUNT_BITS))
        self.fresh_ns = began - int(REFRESH * 1e9)

    def mark(self, path: Path) -> bool:
        """Have everybody see that this build uses a file; False where it is not there."""
        with self.gate():
            try:
                if self._writable:
                    os.utime(path)
                    return True
            except FileNotFoundError:
                return False
            except OSError:
                # Somebody else's file, a full disk: it cannot be told apart, so all of them stay.
                self.keep_everything()
            return path.exists()

    def keep_everything(self) -> None:
        """Have nothing at all removed while this build runs."""
        if not 0 <= self._start < UNMARKED:
            self._move(secrets.randbelow(UNMARKED))

    def _move(self, start: int) -> None:
        """Have the lease lie there; at no time is there none."""
        self._lock(fcntl.F_RDLCK, start)
        if self._start >= 0:
            self._lock(fcntl.F_UNLCK, self._start)
        self._start = start

    @contextlib.contextmanager
    def gate(self, exclusive: bool = False) -> Iterator[None]:
        """Either files are marked or files are removed, never both at once.

        A collector that cannot have it raises EnvironmentProblem; a build goes on.
        """
        kind = fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK
        until = 0.0
        while not self._lock(kind, GATE):
            until = until or time.monotonic() + self._patience
            if time.monotonic() > until:
                if exclusive:
                    raise EnvironmentProblem("a running build does not let the cache be changed")
                self._patience = 0.0  # Not again for each file.
                break
            time.sleep(0.0005)
        else:
            self._patience = STUCK
        try:
            yield
        finally:
            self._lock(fcntl.F_UNLCK, GATE)

    # A collector

    def collect(self) -> bool:
        """Be the one that collects; False where another one does."""
        return self._lock(fcntl.F_WRLCK, COLLECTOR)

    def live(self) -> list[int]:
        """When each running build began (Unix time in ns), 0 for one that keeps everything.

        This object's own lease is not among them.
        """
        found: list[int] = []
        # From the end: a lease that moves (see keep_everything) moves to where is yet to be looked.
        spans = [(0, GATE)] if self._descriptor >= 0 and not self.broken else []
        while spans:
            first, end = spans.pop()
            taken = self._taken(first, end - first) if first < end else None
            if taken is not None:
                start, length = taken
                found.append((start >> COUNT_BITS) * 1_000_000 if start >= UNMARKED else 0)
                spans += [(first, start), (start + length, end)]
        return sorted(found)

    def _taken(self, start: int, length: int) -> tuple[int, int] | None:
        """Some byte range in this one that is locked by somebody else: its start and length."""
        try:
            found = ranges.held(self._descriptor, start, length)
        except OSError as error:
            self.broken = self.broken or str(error)
            return None
        return None if found is None else (found[0], found[1] or length)

    def _lock(self, kind: int, start: int) -> bool:
        """False where somebody else has it; where there are no locks, everybody has them."""
        if self.broken or self._descriptor < 0:
            return True
        try:
            return ranges.lock(self._descriptor, kind, start)
        except OSError as error:
            self.broken = str(error)
            return True


def _closed(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)
