"""Options of a command line that distutils' parser cannot take as they are."""

from __future__ import annotations

from collections.abc import Sequence

OPTION = "--aot-target"
SHORTEST = "--aot-t"


def merge_targets(arguments: Sequence[str]) -> list[str]:
    """Join repeated `--aot-target A --aot-target B` into one: distutils keeps only the last.

    The joined value is a comma list in the place of the first one. Abbreviations are taken as
    getopt takes them.
    """
    kept: list[str] = []
    values: list[str] = []
    place: int | None = None
    pending = list(arguments)
    while pending:
        word = pending.pop(0)
        name, equals, value = word.partition("=")
        if not (name.startswith(SHORTEST) and OPTION.startswith(name)):
            kept.append(word)
            continue
        if not equals and not pending:
            return list(arguments)
        values.append(value if equals else pending.pop(0))
        if place is None:
            place = len(kept)
    if place is not None:
        kept.insert(place, f"{OPTION}={','.join(values)}")
    return kept
