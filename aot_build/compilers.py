"""Toolchains by the names that backends ask for them by."""

from collections.abc import Callable, Mapping
from pathlib import Path

from aot_build.backends.registry import Registry
from aot_build.core.toolchain import Toolchain
from aot_build.errors import InternalError
from aot_build.toolchains.cxx import find_cxx
from aot_build.toolchains.distributions import Distributions
from aot_build.toolchains.nvcc import find_nvcc
from aot_build.toolchains.package import find_package
from aot_build.toolchains.python import find_python
from aot_build.toolchains.rocm import find_flydsl

LINKS = "rocm-v1"
"""Folder of what stands in the place of a ROCm."""


def find_toolchain(
    name: str,
    env: Mapping[str, str],
    digest: Callable[[str], str | None],
    distributions: Distributions,
    registry: Registry,
    known: Callable[[str], Toolchain],
    folder: Path,
) -> Toolchain:
    """The toolchain. `known` gives another one that it builds upon; `folder` is the build's own.

    Raises EnvironmentProblem.
    """
    if name == "cxx":
        return find_cxx(env, digest)
    if name == "nvcc":
        return find_nvcc(env, digest, known("cxx"))
    if name == "python":
        return find_python()
    if name not in ("triton", "flydsl"):
        raise InternalError(f"no toolchain is called {name!r}")
    (requirement,) = registry.get(name).requires
    package = find_package(name, requirement, distributions.identity, digest)
    if name == "triton":
        return package
    return find_flydsl(package, env, digest, folder / LINKS)
