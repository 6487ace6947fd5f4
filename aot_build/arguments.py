"""Arguments of the command line that are more than words, and what it says where one is wrong."""

import argparse
import re

from aot_build.errors import InputError, did_you_mean

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
"""Seconds."""


class Parser(argparse.ArgumentParser):
    """Names the nearest command when one is misspelt."""

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            hint = did_you_mean(str(value), map(str, action.choices))
            raise argparse.ArgumentError(action, f"unknown choice {value!r}: {hint}")


def positive(text: str) -> int:
    """A number of processes or variants: none of them would be nothing done, and called done."""
    number = int(text) if text.strip().isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return number


def byte_limit(text: str) -> int:
    """`10GiB`, `500 MB`, a number of bytes, 0."""
    from aot_build.settings.check import size

    try:
        return 0 if text.strip() == "0" else size(text, {})
    except InputError:
        problem = f"not a size: {text!r}; write 10GiB, 500MB or bytes"
        raise argparse.ArgumentTypeError(problem) from None


def age_limit(text: str) -> float:
    """`30d`, `12h`, `2 w`: seconds."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", text.lower())
    if found is None:
        problem = f"not an age: {text!r}; write a number and s, m, h, d or w: 30d"
        raise argparse.ArgumentTypeError(problem)
    return float(found[1]) * UNITS[found[2]]


def add_gc_options(gc: argparse.ArgumentParser) -> None:
    """Those of `gc`, and its own description."""
    gc.description = (
        "Remove from the cache what was not used for longest, and what killed builds left there. "
        "Safe beside running builds: what they use stays. "
        "Without a limit: --max-size 10GiB --max-age 90d."
    )
    size, age = "results and their blobs: 10GiB, 500MB", "since the last use: 30d, 12h, 2w"
    gc.add_argument("--max-size", type=byte_limit, metavar="SIZE", help=size)
    gc.add_argument("--max-age", type=age_limit, metavar="AGE", help=age)
    gc.add_argument("--dry-run", "-n", action="store_true", help="say it, and remove nothing")
    gc.add_argument("--cache-dir", metavar="DIR", help="default: that of the project, or yours")
