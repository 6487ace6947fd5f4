"""What came of an action."""

from dataclasses import dataclass, field
from typing import Any

from aot_build.core.artifact import Artifact


@dataclass(frozen=True, slots=True)
class ActionResult:
    """The entry of the action cache: enough to ship an artifact without running anything."""

    artifacts: tuple[Artifact, ...]
    metadata: dict[str, Any] = field(default_factory=dict)
    """Launch metadata for the manifest: JSON values."""
    seconds: float = 0.0
    """Wall time of the action, for ordering later builds."""
    peak_bytes: int = 0
    trespasses: tuple[str, ...] = ()
    """What the action touched that it has no business with (core.work.WorkReport)."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an action has no result; `outcome` is the family of the end.

    error: it said what is wrong, and would say so again. crashed: it, or a program that it called,
    was ended by a signal or left without a word. memory: there was not enough. timeout: it took
    too long. nothing: it ended as if all was well, and left no file or no answer. lost: what it ran
    in was ended from outside. skipped: it was not started.
    """

    outcome: str
    reason: str
    log: str = ""
    """Path of the log file, empty where none was written."""

    @property
    def abnormal(self) -> bool:
        """Whether a fresh process might fare better: a clean error is never retried."""
        return self.outcome not in {"error", "skipped"}


@dataclass(frozen=True, slots=True)
class Miss:
    """Why a variant has to be built: which component changed, from what to what."""

    changed: str
    was: str = ""
    now: str = ""

    def __str__(self) -> str:
        if not self.was and not self.now:
            return self.changed
        return f"{self.changed}: {self.was or '-'} -> {self.now or '-'}"
