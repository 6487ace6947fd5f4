"""What came of an action."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aot_build.core.artifact import Artifact
from aot_build.core.trespass import Trespass


@dataclass(frozen=True, slots=True)
class ActionResult:
    """The entry of the action cache: enough to ship an artifact without running anything."""

    artifacts: tuple[Artifact, ...]
    metadata: dict[str, Any] = field(default_factory=dict)
    """Launch metadata for the manifest: JSON values."""
    seconds: float = 0.0
    """Wall time of the action, for ordering later builds."""
    peak_bytes: int = 0
    trespasses: tuple[Trespass, ...] = ()


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


FAMILIES = {
    "never-built": "the variant is new here, and to the cache",
    "input": "it is new here, and the cache has it for other inputs only",
    "evicted": "nothing changed, and the cache has no result of it (any more)",
    "damaged": "what the cache has of it is damaged",
    "verify": "it was asked to be built again",
    "strict": "what is kept of it was made by an action that left its project and its toolchain",
    "target": "the target",
    "mode": "the mode",
    "backend": "the backend",
    "salt": "the code of this project that does the work",
    "toolchain": "the compiler, or a program that belongs to it",
    "param": "a value of its row, or an option",
    "flags": "flags, or folders that are searched",
    "outputs": "the patterns that choose its outputs",
    "source": "a declared source, or a function that it is made of",
    "stage": "what an earlier stage left, or which stage it is",
    "file": "a file that it was seen to read",
    "module": "a Python module that it was seen to import",
    "present": "a file that it was seen to look at",
    "absent": "a file that it looked for in vain is there",
    "listing": "the names in a folder that it was seen to list",
    "program": "what a look-up on PATH finds",
    "distribution": "an installed distribution",
    "env": "an environment variable",
}
"""Of changes and misses: what sort of a thing is not what it was."""


@dataclass(frozen=True, slots=True)
class Change:
    """One component of a key that is not what it was; digests are shortened."""

    family: str
    component: str
    was: str = ""
    now: str = ""
    path: str = ""
    """By role, of the file or folder that changed; empty where it is none."""

    def __str__(self) -> str:
        return f"{self.component}: {self.was or '-'} -> {self.now or '-'}"


@dataclass(frozen=True, slots=True)
class Miss:
    """Why a variant has to be built: which component changed, from what to what."""

    changed: str
    was: str = ""
    now: str = ""
    family: str = ""
    """One of FAMILIES."""
    changes: tuple[Change, ...] = ()
    """All that changed; the first one is the reason in one line."""

    @classmethod
    def of(cls, changes: Sequence[Change]) -> "Miss":
        """A miss for what changed."""
        first = changes[0]
        return cls(first.component, first.was, first.now, first.family, tuple(changes))

    def __str__(self) -> str:
        if not self.was and not self.now:
            return self.changed
        return f"{self.changed}: {self.was or '-'} -> {self.now or '-'}"


DAMAGED = Miss("its result was damaged", family="damaged")
VERIFIED = Miss("verified", family="verify")
