"""A compiler that is a Python distribution: triton, flydsl."""

import importlib.metadata
from collections.abc import Callable

from aot_build.core.toolchain import Toolchain
from aot_build.digest import key_digest
from aot_build.errors import EnvironmentProblem


def find_package(name: str, requirement: str, identity: Callable[[str], str]) -> Toolchain:
    """The installed distribution `name`; `identity` digests its content.

    Raises EnvironmentProblem, with the command that installs it, where it is absent.
    """
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise EnvironmentProblem(
            f"{name} is not installed",
            {"searched": "the packages of the interpreter that builds"},
            f'pip install "{requirement}"; for an isolated build add it to [build-system] requires,'
            ' or let build-backend = "aot_build.build_meta" ask for it',
        ) from None
    return Toolchain(name, version, key_digest((name, version, identity(name))))
