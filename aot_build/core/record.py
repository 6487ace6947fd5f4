"""What the build log keeps of a variant's last build: it names what changed, decides nothing."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Record:
    """`components` are short texts by name; `closure` maps what was looked at to the answer then.

    Times are Unix times; 0 where it is not known."""

    components: dict[str, str] = field(default_factory=dict)
    closure: dict[str, str] = field(default_factory=dict)
    decision: str = ""
    """The last decision in words: `hit`, or why it was built."""
    built: str = ""
    """Why it was built the last time that it was, here."""
    seconds: float = 0.0
    """How long the last execution took, wherever that was."""
    family: str = ""
    """Of the reason in `built`."""
    built_at: float = 0.0
    """When it was built the last time that it was, here."""
    at: float = 0.0
    """When the last build looked at it."""
    trace: str = ""
    """Id of the trace that `closure` answers."""
    label: str = ""
    """The variant as people read it."""
