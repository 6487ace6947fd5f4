"""Paths that were not there, by the nearest folder that was."""

import os
from collections.abc import Iterable, Iterator

from aot_build.core.roles import Roles
from aot_build.core.trace import Absences, by_folder


def absences(paths: Iterable[str], roles: Roles) -> Absences:
    """Those of the paths (absolute) that are still not there, as a trace keeps them."""
    return by_folder(
        (roles.encode(folder), name) for path in set(paths) for folder, name in _place(path)
    )


def _place(path: str) -> Iterator[tuple[str, str]]:
    """Where a path would appear; nothing where it has appeared."""
    if os.path.lexists(path):
        # A link that leads nowhere: what it leads to may appear.
        if not os.path.islink(path) or os.path.exists(path):
            return
        path = os.path.realpath(path)
        if os.path.islink(path):  # It leads to itself.
            return
    folder = os.path.dirname(path)
    while not os.path.isdir(folder) and folder != os.sep:
        folder = os.path.dirname(folder)
    yield folder, path[len(folder.rstrip(os.sep)) + 1 :]
