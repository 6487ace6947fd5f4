"""Paths that were not there, by the nearest folder that was."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator

from aot_build.core.roles import Roles
from aot_build.core.trace import Absences, by_folder


def absences(paths: Iterable[str], roles: Roles) -> Absences:
    """Those of the paths (absolute) that are still not there, as a trace keeps them."""
    places = functools.cache(lambda folder: tuple(_places(folder, roles)))
    is_there = functools.cache(os.path.isdir)
    return by_folder(
        (place, name)
        for path in set(paths)
        for folder, name in _place(path, is_there)
        for place in places(folder)
    )


def _places(folder: str, roles: Roles) -> Iterator[str]:
    """The folder by role; one around the project also as seen from there. Whoever goes up from a
    file to look for a `.git` will go up from another place in another checkout."""
    yield roles.encode(folder)
    project = roles.roots.get("project", "")
    if project.startswith(folder.rstrip(os.sep) + os.sep):
        yield f"{{project}}/{os.path.relpath(folder, project)}"


def _place(path: str, is_there: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Where a path would appear; nothing where it has appeared."""
    if is_there(os.path.dirname(path)) and os.path.lexists(path):
        # A link that leads nowhere: what it leads to may appear.
        if not os.path.islink(path) or os.path.exists(path):
            return
        path = os.path.realpath(path)
        if os.path.islink(path):  # It leads to itself.
            return
    folder = os.path.dirname(path)
    while not is_there(folder) and folder != os.sep:
        folder = os.path.dirname(folder)
    yield folder, path[len(folder.rstrip(os.sep)) + 1 :]
