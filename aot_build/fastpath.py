"""`aot-build build` where nothing changed: a snapshot check, one line of output, the end.

Only the plainest command lines are understood here; everything else is the command line's.
Imports nothing but what the interpreter has loaded anyway.
"""

import os
import sys
from time import perf_counter

from aot_build import snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SHORT = {"-t": "--target", "-m": "--mode", "-j": "--jobs"}
TAKES = ("--project", "--target", "--mode", "--kernel", "--jobs")
"""Options of `build` that take one word each, and may be read here."""


def nothing_to_do(arguments: list[str]) -> bool:
    """Whether the build that is asked for is done already; then it has been reported, too."""
    words = plain_words(arguments[1:], TAKES) if arguments[:1] == ["build"] else None
    if words is None:
        return False
    project = os.path.realpath(words.get("--project", ["."])[-1])
    return answered(project, shape_of(words), "--json" in words)


def plain_words(
    arguments: list[str], takes: "Collection[str]", lists: "Collection[str]" = ()
) -> dict[str, list[str]] | None:
    """Option -> what it was given, in order; None where only argparse knows what is meant.

    `takes` have one word each, `lists` as many as come until the next option; `--json` has none.
    """
    found: dict[str, list[str]] = {}
    words = arguments[::-1]
    while words:
        name, equals, value = words.pop().partition("=")
        name = SHORT.get(name, name) if not equals else name
        if name == "--json" and not equals:
            found[name] = []
        elif (name in takes or name in lists) and not equals and _is_value(words):
            given = found.setdefault(name, [])
            given.append(words.pop())
            while name in lists and _is_value(words):
                given.append(words.pop())
        elif name in takes and value:
            found.setdefault(name, []).append(value)
        else:
            return None
    return found if all(map(_is_number, found.get("--jobs", ()))) else None


def _is_value(words: list[str]) -> bool:
    """Whether what comes next stands for itself."""
    return bool(words) and words[-1] != "" and not words[-1].startswith("-")


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and int(word) > 0


def shape_of(words: "Mapping[str, list[str]]") -> str:
    """The shape of the request that the words make (request.py)."""
    mode = words.get("--mode", [None])[-1]
    return snapshot.shape(words.get("--target"), mode, words.get("--kernel"))


def answered(project: str, shape: str, as_json: bool) -> bool:
    """Whether nothing is to be done for such a request; then it has been reported, too."""
    began = perf_counter()
    found = snapshot.fresh(project, shape)
    if found is None:
        return False
    wall = perf_counter() - began
    text, left_out = snapshot.said(found[1], wall)
    summary = os.environ.get("AOT_BUILD_SUMMARY")
    if summary:
        try:
            with open(summary, "w", encoding="utf-8") as stream:
                stream.write(text + "\n")
        except OSError as error:
            sys.stderr.write(f"aot_build: the summary cannot be written: {error}\n")
    try:
        for line in left_out:
            sys.stderr.write(f"aot_build: {line}\n")
        _report(text, as_json, wall)
    except BrokenPipeError:
        pass
    except OSError:
        # It is for the command line to say that an answer could not be given.
        return not as_json
    return True


def _report(text: str, as_json: bool, wall: float) -> None:
    if as_json:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
        return
    count = text.partition('"hits": ')[2].partition(",")[0]
    plural = "" if count == "1" else "s"
    line = f"aot_build: {count} variant{plural}, {count} hit{plural}, 0 built in {wall:.2f} s\n"
    sys.stderr.write(line)
    sys.stderr.flush()


def open_streams() -> None:
    """Started with a standard stream closed, read and write nothing there: the next file that is
    opened would take its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, mode))
