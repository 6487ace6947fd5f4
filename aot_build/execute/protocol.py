"""The one seam for execution: nothing runs outside an Executor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Job:
    """One call of `entry(payload)` in a process of its own.

    `entry` is `module:function`, bytes to bytes; what kernels are is none of this room's business.
    """

    id: int
    entry: str
    payload: bytes
    label: str = ""
    log: str = ""
    """Path of the file that takes the process's stdout and stderr; its folder exists."""
    scratch: str = ""
    """Working directory and TMPDIR of the process; it exists. Whoever submits removes it."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment that the executor was started with."""
    timeout: float | None = None
    """Seconds of wall time."""


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended.

    `outcome` is one of: ok (payload is what `entry` returned), error (it raised: reason is the
    traceback's last line, the log has it all), crashed (a signal, or an exit status and no answer),
    nothing (exit status 0, and no answer), timeout, memory, lost (the executor itself died).
    """

    id: int
    outcome: str
    payload: bytes = b""
    reason: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0


class Executor(Protocol):
    """Runs jobs; knows nothing of kernels, keys or caches."""

    slots: int
    refused: dict[str, str]
    """Modules that were not preloaded, and why; known some time after `preload`."""

    def start(self) -> None:
        """Get ready for jobs that will come."""

    def submit(self, job: Job) -> None:
        """Queue a job: it starts at once where a slot is free."""

    def wait(self, timeout: float | None = None, wake: int | None = None) -> list[JobEnd]:
        """The jobs that ended since the last call; blocks up to `timeout` seconds for the first,
        or until the descriptor `wake` is readable.

        Returns an empty list then, on time-out or when nothing runs. Raises Interrupted when the
        build is to stop.
        """

    def sizes(self) -> Mapping[int, int]:
        """Id of a running job -> bytes of memory that it and its children occupy now, as far as
        that was looked at."""

    def preload(self, modules: Sequence[str], *, trusted: bool = False) -> None:
        """Import modules once for all later jobs, where that is possible without threads;
        `trusted` ones are known to start none. Jobs that are submitted before the next wait do
        not wait for it."""

    def settled(self, modules: Sequence[str]) -> bool:
        """Whether what `preload` was asked for is imported, or given up."""

    def close(self) -> None:
        """Kill what runs, wait until nothing is left. Idempotent."""


class Tokens(Protocol):
    """A pot of CPU tokens, shared with whatever else runs in the same build: one a running job."""

    def take(self) -> bool:
        """Take a token where one is there now; never waits."""

    def give(self) -> None:
        """Put one back that was taken here."""

    def recover(self) -> None:
        """A job was ended from outside: its tools may have held tokens, which nobody gives back."""

    def fileno(self) -> int:
        """A descriptor that is readable while there may be a token."""
