"""Depfiles (make rules as gcc -MD writes them) as traces."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from aot_build.core.roles import Roles
from aot_build.core.trace import Trace


def read_depfile(text: str) -> list[str]:
    """The prerequisites of a depfile: continuation lines, `\\ ` and `$$` undone."""
    body = text.replace("\\\n", " ").partition(": ")[2]
    words = re.findall(r"(?:\\.|[^\s\\])+", body)
    return [re.sub(r"\\(.)", r"\1", word).replace("$$", "$") for word in words]


def trace_of_depfiles(
    depfiles: Iterable[Path], searched: Sequence[str], roles: Roles, scratch: Path
) -> Trace:
    """What a compile read, and where the headers that it found could have been shadowed.

    `searched` are the declared include directories in their order (absolute). A header found in
    one of them, or beyond them, was looked for in each earlier one, and beside the files that
    include it.
    """
    read = set()
    for depfile in depfiles:
        for word in read_depfile(depfile.read_text(errors="surrogateescape")):
            read.add(os.path.normpath(os.path.join(scratch, word)))
    inside = str(scratch) + os.sep
    files = sorted(path for path in read if not path.startswith(inside))
    absent = _shadows(files, [os.path.normpath(d) for d in searched], roles.decode("{project}"))
    return Trace(
        files=tuple(sorted(map(roles.encode, files))),
        absent=tuple(sorted(map(roles.encode, absent))),
    )


def _shadows(files: Sequence[str], searched: Sequence[str], project: str) -> set[str]:
    """Paths that an `#include` would have taken instead, had they existed."""
    beside = {os.path.dirname(path) for path in files if path.startswith(project + os.sep)}
    absent = set()
    for path in files:
        for names in _names_of(path, searched):
            name, earlier = names
            for folder in (*earlier, *beside):
                candidate = f"{folder}/{name}"
                if candidate != path and not os.path.lexists(candidate):
                    absent.add(candidate)
    return absent


def _names_of(path: str, searched: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    """How a file may have been named in an `#include`, with the folders that came earlier."""
    found = [
        (path[len(folder) + 1 :], searched[:position])
        for position, folder in enumerate(searched)
        if path.startswith(folder + os.sep)
    ]
    if found:
        return found
    for marker in ("/include/", "/c++/"):
        if marker in path and searched:
            name = path.rpartition(marker)[2]
            return [(name, searched), (os.path.basename(path), searched)]
    return []
