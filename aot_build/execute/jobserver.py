"""One pot of CPU tokens for everything that runs in a build: a jobserver of GNU make.

Protocol: GNU make 4.4 manual, "POSIX Jobserver"; one byte a token, `--jobserver-auth=fifo:PATH`.
Each process that was started with a token may run one job; for each further one at a time it takes
a byte out of the pot and puts it back.

The pot is a pipe rather than a file: others open it as `/proc/<pid>/fd/<n>`. So a killed build
leaves nothing behind, and no blank in a project's path can split MAKEFLAGS in two. A ledger in
shared memory beside it says what the driver and the front end hold, since whoever is killed takes
its tokens along. Standard library alone: setuptools processes import this.
"""

import array
import contextlib
import fcntl
import mmap
import os
import struct
import sys
import termios
import threading
from collections.abc import Iterator, Sequence

from aot_build.execute.limits import cpu_slots

TOKEN = b"+"
_ENTRIES = struct.Struct("4q")
_SIZE, _FRONT, _DRIVER, _EXPECTED = range(4)
"""Entries of the ledger: tokens in all (0: not said yet), what each of the two holds, and how many
jobs of the front end are expected."""
_OPEN = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC


class Jobserver:
    """One side of a pot that belongs to this build. Threads may share it."""

    def __init__(self, pot: int, ledger: int, side: int) -> None:
        self._pot, self._ledger, self._side = pot, ledger, side
        self._entries = mmap.mmap(ledger, _ENTRIES.size)
        self._own = threading.Lock()
        self._quiet = os.pipe2(os.O_CLOEXEC)
        """Never readable."""
        self._closed = False

    @classmethod
    def create(cls, *, for_driver: bool = False) -> "Jobserver":
        """An empty pot. Raises OSError where the system has no such thing.

        The front end's has it hold one token, which the command that it runs is started with.
        """
        if sys.platform != "linux":
            raise OSError("a pot of CPU tokens needs proc(5) and memfd_create(2)")
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            pot = os.open(f"/proc/self/fd/{reading}", _OPEN)
        finally:
            os.close(reading)
            os.close(writing)
        ledger = os.memfd_create("ledger", os.MFD_CLOEXEC)
        os.ftruncate(ledger, _ENTRIES.size)
        created = cls(pot, ledger, _DRIVER if for_driver else _FRONT)
        if not for_driver:
            created._write(_FRONT, 1)
        return created

    @classmethod
    def open(cls, addresses: Sequence[str]) -> "Jobserver":
        """The driver's side of what the front end created. Raises OSError."""
        pot = os.open(addresses[0], _OPEN)
        try:
            return cls(pot, os.open(addresses[1], os.O_RDWR | os.O_CLOEXEC), _DRIVER)
        except BaseException:
            os.close(pot)
            raise

    @property
    def addresses(self) -> tuple[str, str]:
        """Paths of pot and ledger while this process lives; what `open` takes."""
        folder = f"/proc/{os.getpid()}/fd"
        return f"{folder}/{self._pot}", f"{folder}/{self._ledger}"

    @property
    def path(self) -> str:
        """The pot, for MAKEFLAGS."""
        return self.addresses[0]

    @property
    def size(self) -> int:
        """How many tokens there are in all; 0 until the driver has said so."""
        return self._read(_SIZE)

    def fileno(self) -> int:
        """Readable while there may be a token for this side.

        While the driver holds as many as it may, that is so when it has given one back: it is
        told neither of tokens that are meant for others nor that it may have more now.
        """
        with self._locked():
            held = self._read(_DRIVER) if self._side == _DRIVER else 0
            return self._quiet[0] if held and held >= self._most() else self._pot

    def fill(self, size: int) -> None:
        """Have `size` tokens in all: those that somebody holds, and the rest in the pot."""
        with self._locked():
            self._write(_SIZE, size)
            self._settle()

    def take(self) -> bool:
        """Take a token where one is there now; never waits."""
        with self._locked():
            if self._side == _DRIVER and self._read(_DRIVER) >= self._most():
                return False
            if not self._drain(1):
                if self._read(_FRONT) or self._read(_DRIVER):
                    return False
                # Nobody who could give one back holds one: what is missing was lost.
                self._settle()
                if not self._drain(1):
                    return False
            self._write(self._side, self._read(self._side) + 1)
            return True

    def give(self) -> None:
        """Put one back that was taken on this side."""
        with self._locked():
            self._write(self._side, max(0, self._read(self._side) - 1))
            os.write(self._pot, TOKEN)
            self._settle(top_up=not self._read(_FRONT) and not self._read(_DRIVER))

    def expect(self, jobs: int) -> None:
        """Have the driver leave up to half of all tokens to so many jobs of the front end's tools.

        ninja looks into the pot when it starts, and then only when one of its own jobs has ended:
        where it finds nothing, it has one job at a time for minutes, whatever is free meanwhile.
        """
        with self._locked():
            if not self._closed:
                self._write(_EXPECTED, jobs)

    def _most(self) -> int:
        """How many tokens the driver may hold just now."""
        size, front = self._read(_SIZE), self._read(_FRONT)
        return size - max(front, min((size + 1) // 2, self._read(_EXPECTED))) if front else size

    def refill(self) -> None:
        """Make the pot whole again, when a command of the front end has ended.

        What its tools took is back or lost. Tools of a worker that hold tokens just now are
        counted as lost: what they give back on top is taken out again.
        """
        with self._locked():
            if not self._closed:
                self._settle()

    def recover(self) -> None:
        """Make good what the tools of a job held that was ended from outside.

        Those of other jobs may hold some just now: see `refill`. Nothing is done while the front
        end has tools, which hold theirs for long: the end of its command makes the pot whole.
        """
        with self._locked():
            if not self._closed and not self._read(_FRONT):
                self._settle()

    def bury(self) -> None:
        """Take over from a driver that is gone: what it held goes back into the pot."""
        with self._locked():
            if self._closed:
                return
            lost = self._read(_DRIVER)
            self._write(_DRIVER, 0)
            if not self._read(_SIZE):
                # It went before it said how many there are.
                self._write(_SIZE, cpu_slots())
                self._settle()
            else:
                os.write(self._pot, TOKEN * lost)
                self._settle(top_up=False)

    def close(self) -> None:
        """Give back what this side holds, and leave. Idempotent."""
        with self._locked():
            if self._closed:
                return
            held = self._read(self._side)
            self._write(self._side, 0)
            os.write(self._pot, TOKEN * held)
            self._settle(top_up=False)
            self._closed = True
            self._entries.close()
        for descriptor in (self._pot, self._ledger, *self._quiet):
            os.close(descriptor)

    def _settle(self, *, top_up: bool = True) -> None:
        """Compare the pot with the ledger.

        More than the ledger allows is wrong at any time: somebody gave back too much. Less is
        what tools hold, unless the caller knows that there are none.
        """
        wanted = self._read(_SIZE) - self._read(_FRONT) - self._read(_DRIVER)
        missing = max(0, wanted) - _readable(self._pot)
        if missing < 0:
            self._drain(-missing)
        elif top_up:
            os.write(self._pot, TOKEN * missing)

    def _drain(self, count: int) -> bytes:
        try:
            return os.read(self._pot, count)
        except BlockingIOError:
            return b""

    def _read(self, entry: int) -> int:
        value: int = _ENTRIES.unpack_from(self._entries)[entry]
        return value

    def _write(self, entry: int, value: int) -> None:
        struct.pack_into("q", self._entries, 8 * entry, value)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among the threads of this process, and of the two sides."""
        with self._own:
            if self._closed:
                yield
                return
            fcntl.flock(self._ledger, fcntl.LOCK_EX)
            try:
                yield
            finally:
                if not self._closed:
                    fcntl.flock(self._ledger, fcntl.LOCK_UN)


class Guest:
    """A pot of somebody else's: a make, or another build, that this one was started by.

    Whoever is started with a jobserver has been given one token: the first job needs none. What
    is lost there is not for us to make good.
    """

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        self.path = path
        self._pot = os.open(path, _OPEN)
        self._own_is_out = False
        self._taken: list[bytes] = []

    def fileno(self) -> int:
        """Readable while there is a token in the pot."""
        return self._pot

    def take(self) -> bool:
        """Take a token where one is there now; never waits."""
        if not self._own_is_out:
            self._own_is_out = True
            return True
        try:
            token = os.read(self._pot, 1)
        except BlockingIOError:
            return False
        self._taken.append(token)
        return bool(token)

    def give(self) -> None:
        """Put one back: the very byte that was taken, for it may mean something to its owner."""
        if self._taken:
            os.write(self._pot, self._taken.pop())
        else:
            self._own_is_out = False

    def recover(self) -> None:
        """Its owner's affair."""

    def close(self) -> None:
        """Give back what is held, and leave. Idempotent."""
        if self._pot < 0:
            return
        while self._taken:
            self.give()
        os.close(self._pot)
        self._pot = -1


def open_tokens(addresses: Sequence[str], size: int) -> Jobserver | Guest | None:
    """The driver's side of the CPU tokens; None where this system has no pot.

    `addresses` come with the request: two of a front end's pot, one of a pot outside of this
    build, none where the driver makes its own. `size` is how many jobs may run at once.
    """
    with contextlib.suppress(OSError):
        if len(addresses) == 1:
            return Guest(addresses[0])
        if addresses:
            opened = Jobserver.open(addresses)
            opened.fill(size)
            return opened
    try:
        created = Jobserver.create(for_driver=True)
    except OSError:
        return None
    created.fill(size)
    return created


def _readable(descriptor: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]
