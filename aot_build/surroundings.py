"""How people call what keys hold as digests: compilers by name and version, programs by path."""

import importlib.metadata
from collections.abc import Callable, Mapping
from functools import cache

from aot_build.core.roles import Roles
from aot_build.core.toolchain import Toolchain
from aot_build.graph.rebuilder import Surroundings

MOST_FILES = 500
"""Of a toolchain; one that is a whole checkout is not told file by file."""


def surroundings(
    toolchains: Mapping[str, Toolchain], roles: Roles, digest: Callable[[str], str | None]
) -> Surroundings:
    """Those of a build that has found these toolchains, and may find more; `digest` is a file's."""

    def found(wanted: str) -> Toolchain | None:
        return next((t for t in toolchains.values() if t.digest == wanted), None)

    @cache
    def named(wanted: str) -> str:
        tool = found(wanted)
        return f"{tool.name} {tool.version} [{wanted[:12]}]" if tool else wanted

    @cache
    def programs(wanted: str) -> dict[str, str]:
        tool = found(wanted)
        if tool is None or len(tool.files) > MOST_FILES:
            return {}
        digests = {roles.encode(path): digest(path) for path in tool.files}
        return {path: taken for path, taken in digests.items() if taken is not None}

    return Surroundings(named, programs, _version)


@cache
def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return ""
