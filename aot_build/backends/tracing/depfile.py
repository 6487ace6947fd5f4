"""Depfiles (make rules as gcc -MD writes them) as traces."""

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from aot_build.backends.tracing.absences import absences
from aot_build.core.roles import Roles
from aot_build.core.trace import Trace

_WORD = re.compile(r"(?:(?<!\\)(?:\\\\)*\\[ \t]|[^ \t])+")
_BLANK = re.compile(r"(\\*)\\([ \t])")
_SOURCES = (".c", ".cc", ".cpp", ".cxx", ".C", ".cu")
_ASKED = re.compile(rb"__has_include(?:_next)?\s*\(\s*[<\"]([^>\"\n]+)[>\"]")


def read_depfile(text: str) -> list[str]:
    """The prerequisites of all rules of a depfile, escapes undone, in order, each once.

    gcc (libcpp, mkdeps.cc) puts a backslash before a blank, `#` and, since release 14, `:`,
    doubles the backslashes before a blank and every `$`, and leaves all other backslashes alone.
    """
    found: dict[str, None] = {}
    for rule in text.replace("\\\n", " ").split("\n"):
        _, *rest = re.split(r":(?=[ \t]|$)", rule, maxsplit=1)
        for word in _WORD.findall("".join(rest)):
            found[_plain(word)] = None
    return list(found)


def _plain(word: str) -> str:
    word = _BLANK.sub(lambda blank: blank[1][: len(blank[1]) // 2] + blank[2], word)
    return re.sub(r"\\([#:])", r"\1", word).replace("$$", "$")


def trace_of_depfiles(
    depfiles: Iterable[Path],
    searched: Sequence[str],
    roles: Roles,
    scratch: Path,
    real: Callable[[str], str] | None = None,
) -> Trace:
    """What a compile read, and where the headers that it found could have been shadowed.

    `searched` are the include directories that were named, in their order (absolute). A header
    found in one of them, or beyond them, was looked for in each earlier one, and beside the files
    that include it. A name that a source asks for by `__has_include` was looked for everywhere.
    `real` gives the path behind a word of a depfile; default: it counts from `scratch`.
    """
    read = set()
    for depfile in depfiles:
        for word in read_depfile(depfile.read_text(errors="surrogateescape")):
            read.add(os.path.normpath(os.path.join(scratch, real(word) if real else word)))
    inside = str(scratch) + os.sep
    files = sorted(path for path in read if not path.startswith(inside))
    own = roles.decode("{project}") + os.sep
    folders = [os.path.normpath(d) for d in searched]
    beside = sorted({os.path.dirname(path) for path in files if path.startswith(own)})
    asked = set(_asked_for([p for p in files if p.startswith((own, *folders))], folders, beside))
    absent = asked | set(_shadows(files, folders, beside))
    # gcc takes a precompiled header in place of what lies beside it.
    headers = (p for p in files if p.startswith((own, *folders)) and not p.endswith(_SOURCES))
    absent |= {f"{path}.gch" for path in headers}
    files += [path for path in asked if os.path.isfile(path)]
    return Trace(
        files=tuple(sorted(set(map(roles.encode, files)))),
        absent=absences(absent, roles),
    )


def extended(trace: Trace, read: Iterable[str], missed: Iterable[str], roles: Roles) -> Trace:
    """The trace with further files, and further paths that were not found (both absolute)."""
    files = {*trace.files, *map(roles.encode, read)}
    absent = absences((*map(roles.decode, trace.missing), *missed), roles)
    return dataclasses.replace(trace, files=tuple(sorted(files)), absent=absent)


def _shadows(files: Sequence[str], searched: Sequence[str], beside: Sequence[str]) -> Iterator[str]:
    """Paths that an `#include` would have taken instead, had they existed."""
    for path in files:
        for name, earlier in _names_of(path, searched):
            for folder in (*earlier, *beside):
                yield f"{folder}/{name}"


def _asked_for(
    files: Sequence[str], searched: Sequence[str], beside: Sequence[str]
) -> Iterator[str]:
    """Paths that answer the `__has_include` of some files: a depfile does not tell of them."""
    for path in files:
        try:
            names = _ASKED.findall(Path(path).read_bytes())
        except OSError:
            continue
        for name in map(os.fsdecode, names):
            yield from (os.path.normpath(f"{folder}/{name}") for folder in (*searched, *beside))


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
        if marker in path:
            parts = path.rpartition(marker)[2].split("/")
            return [("/".join(parts[first:]), searched) for first in range(len(parts))]
    return []
