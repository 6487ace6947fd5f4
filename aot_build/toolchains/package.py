"""A compiler that is a Python distribution: triton, flydsl."""

import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator

from aot_build.core.toolchain import Toolchain
from aot_build.digest import key_digest
from aot_build.errors import EnvironmentProblem


def find_package(
    name: str,
    requirement: str,
    identity: Callable[[str], str],
    digest: Callable[[str], str | None],
) -> Toolchain:
    """The installed distribution `name`, and the package that is imported by that name.

    `identity` digests the content of a distribution, `digest` that of a file. Raises
    EnvironmentProblem, with the command that installs it, where it is absent.
    """
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise EnvironmentProblem(
            f"{name} is not installed",
            {"searched": "the packages of the interpreter that builds"},
            f'pip install "{requirement}"; for an isolated build add it to [build-system] requires,'
            ' or let build-backend = "aot_build.build_meta" ask for it',
        ) from None
    files = tuple(_elsewhere(name, str(found.locate_file(name))))
    # The folders as well: a file that is added to one changes its time.
    content = [(os.path.relpath(f, files[0]), digest(f)) for f in files if os.path.isfile(f)]
    made = key_digest((name, found.version, identity(name), *content))
    return Toolchain(name, found.version, made, files=files)


def _elsewhere(name: str, installed: str) -> Iterator[str]:
    """Folders and files of a package that does not lie where its distribution was installed: of
    an editable one, or a checkout earlier on the path, RECORD says nothing."""
    spec = importlib.util.find_spec(name)
    for place in (spec.submodule_search_locations if spec else None) or ():
        if os.path.realpath(place) == os.path.realpath(installed):
            continue
        for folder, folders, names in os.walk(place):
            folders[:] = sorted(f for f in folders if f != "__pycache__")
            yield folder
            yield from (os.path.join(folder, each) for each in sorted(names))
