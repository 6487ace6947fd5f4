"""`aot-build build` where nothing changed: a snapshot check, one line of output, the end.

Only the plainest command lines are understood here; everything else is the command line's.
Imports nothing but what the interpreter has loaded anyway.
"""

import os
import sys
from time import perf_counter

from aot_build import snapshot

PLAIN = "[null, null, null, {}, null]"
"""The shape (see request.py) of a request without options."""


def nothing_to_do(arguments: list[str]) -> bool:
    """Whether the build that is asked for is done already; then it has been reported, too."""
    began = perf_counter()
    asked = _asked(arguments)
    if asked is None:
        return False
    project, as_json = asked
    found = snapshot.fresh(project, PLAIN)
    if found is None:
        return False
    wall = perf_counter() - began
    text = found[1].replace(snapshot.WALL, f"{wall:.4f}")
    summary = os.environ.get("AOT_BUILD_SUMMARY")
    if summary:
        try:
            with open(summary, "w", encoding="utf-8") as stream:
                stream.write(text + "\n")
        except OSError as error:
            sys.stderr.write(f"aot_build: the summary cannot be written: {error}\n")
    try:
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


def _asked(arguments: list[str]) -> tuple[str, bool] | None:
    """Project and whether JSON is wanted; None where there is anything else in the words."""
    if arguments[:1] != ["build"]:
        return None
    project, as_json, words = ".", False, arguments[1:]
    while words:
        word = words.pop(0)
        if word == "--json":
            as_json = True
        elif word == "--project" and words:
            project = words.pop(0)
        elif word.startswith("--project="):
            project = word.partition("=")[2]
        else:
            return None
    return os.path.realpath(project), as_json
