"""What the build log keeps of a variant's last build: it names what changed, decides nothing."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Record:
    """`components` are short texts by name; `closure` maps a traced path to its digest then."""

    components: dict[str, str] = field(default_factory=dict)
    closure: dict[str, str] = field(default_factory=dict)
    decision: str = ""
    """The last decision in words: `hit`, or why it was built."""
    built: str = ""
    """Why it was built the last time that it was."""
    seconds: float = 0.0
    """How long the last execution took."""
