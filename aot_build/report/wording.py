"""Words that displays, tallies and reports share."""

import time
from datetime import datetime
from typing import TextIO

OUTCOMES = {
    "error": "error",
    "crashed": "crashed",
    "memory": "out of memory",
    "timeout": "timed out",
    "nothing": "produced nothing",
    "lost": "lost",
    "skipped": "skipped",
}
"""How an action ended, as people say it."""


def outcome(word: str) -> str:
    """An outcome for humans."""
    return OUTCOMES.get(word, word)


def count(number: int, noun: str) -> str:
    """`1 variant`, `2 variants`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def volume(amount: float) -> str:
    """Bytes: `512 bytes`, `1.5 MiB`."""
    if amount < 1024:
        return count(round(amount), "byte")
    for unit in ("KiB", "MiB"):
        amount /= 1024
        if amount < 1024:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} GiB"


def duration(seconds: float) -> str:
    """Hundredths matter to a build with nothing to do, minutes to a long one."""
    return f"{seconds:.2f} s" if seconds < 9.995 else elapsed(seconds)


def elapsed(seconds: float) -> str:
    """In whole seconds: `14 s`, `2 min 14 s`, `1 h 2 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def iso(seconds: float) -> str:
    """Unix time as ISO 8601, in the zone of this machine; empty where there is no such time."""
    try:
        return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return ""


def ago(text: str) -> str:
    """How long a time of `iso` is past."""
    try:
        past = time.time() - datetime.fromisoformat(text).timestamp()
    except ValueError:
        return "at an unknown time"
    if past < 0:
        return "in the future"
    return f"{past / 86_400:.0f} days ago" if past >= 172_800 else f"{elapsed(past)} ago"


def name(kernel: str, variant: str, target: str, stage: str = "") -> str:
    """A variant for humans: `scale [BLOCK=128, T=float] for cpu`, and the stage that serves it."""
    row = "" if variant in ("", "-") else f" [{variant}]"
    serving = f" ({stage})" if stage else ""
    return plain(f"{kernel}{row} for {target}{serving}")


def first_line(text: str) -> str:
    """What an explanation begins with, fit to be shown."""
    return plain((text.strip().splitlines() or [""])[0])


def plain(text: str) -> str:
    """What a compiler says may hold escape sequences, which would paint the user's terminal."""
    if text.isprintable():
        return text.rstrip()
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in text).rstrip()


def encodable(line: str, stream: TextIO) -> str:
    """A compiler's typographic quotes must not break a stream that is ASCII."""
    encoding = stream.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)
