"""A declared, cacheable, hermetic unit of work."""

from dataclasses import dataclass, field
from typing import Any

STAGE = "{stage}"
"""Role of what the stages before an action left: `{stage}/0/a.o` is an artifact of the first."""


@dataclass(frozen=True, slots=True)
class Action:
    """What is known before an action runs; what it turns out to read is its Trace.

    Each field is keyed, or named in `UNKEYED` with the reason why not.
    """

    backend: str
    stage: str
    target: str
    mode: str
    params: tuple[tuple[str, Any], ...]
    """Everything that shapes the command: row, flags, options; scalars and tuples of them; paths
    carry roles."""
    inputs: tuple[tuple[str, str], ...]
    """Declared sources: path by role, digest; in the order in which they are passed."""
    toolchain: str
    """Digest of the toolchain."""
    env: tuple[tuple[str, str], ...] = ()
    """Environment set for the action: declared, and the allow-list of its backend."""
    salt: str = ""
    """Content of the code of this project that runs the action."""
    outputs: tuple[str, ...] = ()
    """Glob patterns of the files to keep; empty: every file."""
    kernel: str = field(default="", compare=False)
    label: str = field(default="", compare=False)
    command: tuple[str, ...] = field(default=(), compare=False)
    timeout: float | None = field(default=None, compare=False)
    retries: int | None = field(default=None, compare=False)
    memory: int | None = field(default=None, compare=False)


UNKEYED = {
    "kernel": "a name; equal work under two names is done once",
    "label": "display only",
    "command": "how the toolchain is called here; its content is in the toolchain digest",
    "timeout": "bounds the work, does not shape it",
    "retries": "bounds the work, does not shape it",
    "memory": "a guess for the scheduler",
}
