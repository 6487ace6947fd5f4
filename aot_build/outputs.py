"""What an action left in its output folder, checked before anybody relies on it."""

import fnmatch
import os
from collections.abc import Iterator
from pathlib import Path

from aot_build.core.artifact import Artifact
from aot_build.digest import blob_digest


class OutputProblem(Exception):
    """The folder holds nothing, or something that must not ship; `outcome` is the family."""

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


def collect(folder: Path, patterns: tuple[str, ...]) -> tuple[Artifact, ...]:
    """The artifacts in a folder: every file, or those that one of the patterns names.

    Raises OutputProblem where there is none, or where one is no regular file or cannot be read.
    """
    if not folder.is_dir():
        raise OutputProblem("nothing", f"its output folder is gone: {folder}")
    try:
        found = dict(_entries(folder, ""))
    except OSError as error:
        raise OutputProblem("error", f"its output folder cannot be read: {error}") from None
    names = sorted(n for n in found if not patterns or any(_matches(n, p) for p in patterns))
    if not names:
        wanted = f" that matches {', '.join(patterns)}" if patterns else ""
        raise OutputProblem("nothing", f"it left no file{wanted} in its output folder")
    for name in names:
        if not name.isprintable() or "\\" in name:
            raise OutputProblem("error", f"the output name {name!r} cannot ship")
        if not found[name]:
            what = f"its output {name!r} is a link or a special file: only files can ship"
            raise OutputProblem("error", what)
    return tuple(_artifact(folder, name) for name in names)


def _entries(root: Path, folder: str) -> Iterator[tuple[str, bool]]:
    """What lies below `root`, folders aside: its relative name, whether it is a regular file.

    Links are not followed.
    """
    with os.scandir(root / folder) as entries:
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(root, name)
            else:
                yield name, entry.is_file(follow_symlinks=False)


def _matches(name: str, pattern: str) -> bool:
    """As in pathlib: `*` stays within a folder, `**` stands for any number of them, or none."""
    return _match(name.split("/"), pattern.split("/"))


def _match(names: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        return _match(names, patterns[1:]) or (bool(names) and _match(names[1:], patterns))
    if not names or not fnmatch.fnmatchcase(names[0], patterns[0]):
        return False
    return _match(names[1:], patterns[1:])


def _artifact(folder: Path, name: str) -> Artifact:
    path = folder / name
    try:
        return Artifact(name, blob_digest(path), os.stat(path).st_size)
    except OSError as error:
        raise OutputProblem("error", f"its output {name!r} cannot be read: {error}") from None
