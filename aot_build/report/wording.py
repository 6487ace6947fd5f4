"""Words that the console and the tally share."""


def count(number: int, noun: str) -> str:
    """`1 variant`, `2 variants`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """Hundredths matter to a build with nothing to do, minutes to a long one."""
    return f"{seconds:.2f} s" if seconds < 10 else elapsed(seconds)


def elapsed(seconds: float) -> str:
    """In whole seconds: `14 s`, `2 min 14 s`, `1 h 2 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def name(kernel: str, variant: str, target: str) -> str:
    """A variant for humans: `scale [BLOCK=128, T=float] for cpu`."""
    row = "" if variant in ("", "-") else f" [{variant}]"
    return f"{kernel}{row} for {target}"


def plain(text: str) -> str:
    """What a compiler says may hold escape sequences, which would paint the user's terminal."""
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in text).rstrip()
