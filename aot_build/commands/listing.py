"""Files of a project by folder, relative to it: what an sdist has to carry."""

from __future__ import annotations

import os
from collections.abc import Iterator

HEADERS = frozenset(
    {".cuh", ".def", ".h", ".hh", ".hpp", ".hxx", ".inc", ".inl", ".ipp", ".tcc", ".tpp"}
)


def inside(project: str, name: str) -> str | None:
    """A path relative to the project, normalised; empty is the project itself.

    None where it lies outside, or begins with a placeholder that names another place.
    """
    if name.startswith("{"):
        return None
    relative = os.path.relpath(os.path.join(project, name), project)
    if relative == os.pardir or relative.startswith(os.pardir + os.sep):
        return None
    return "" if relative == os.curdir else relative


def files_below(project: str, folder: str) -> Iterator[str]:
    """Every regular file below a folder of the project; hidden and foreign folders left out."""
    for parent, folders, names in os.walk(os.path.join(project, folder)):
        folders[:] = sorted(f for f in folders if not _foreign(parent, f))
        for name in sorted(names):
            path = os.path.join(parent, name)
            if os.path.isfile(path):
                yield os.path.relpath(path, project)


def headers_below(project: str, folder: str) -> Iterator[str]:
    """Those files below a folder that a source beside them may include."""
    for name in files_below(project, folder):
        if os.path.splitext(name)[1] in HEADERS:
            yield name


def _foreign(parent: str, folder: str) -> bool:
    """Whether a folder holds something else than the project's own sources."""
    if folder.startswith(".") or folder == "__pycache__" or folder.endswith(".egg-info"):
        return True
    marks = ("pyvenv.cfg", "CACHEDIR.TAG")
    return any(os.path.exists(os.path.join(parent, folder, mark)) for mark in marks)
