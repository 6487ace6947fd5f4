"""Wrap the methods of one distribution that decide which commands run, and when they end.

The instance is wrapped and its `cmdclass` left alone: what is assigned there is lost when
pyproject.toml is read afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aot_build.commands.arguments import merge_targets
from aot_build.commands.declared import Declared
from aot_build.commands.overlap import ATTRIBUTE, Overlap

if TYPE_CHECKING:
    from setuptools import Command, Distribution


def plug(dist: Distribution, project: str, table: dict[str, Any]) -> None:
    """Have `dist` build the kernels that `table` declares along with everything else."""
    overlap = Overlap(dist, Declared(project, table))
    setattr(dist, ATTRIBUTE, overlap)
    if dist.script_args:
        dist.script_args = merge_targets(dist.script_args)
    _hide_cache(overlap.declared)
    wrapped: dict[str, Callable[..., Any]] = {
        "get_command_class": _looking_up(dist),
        "has_ext_modules": _is_binary(overlap),
        "run_commands": _ending(dist, overlap),
    }
    for name, replacement in wrapped.items():
        setattr(dist, name, replacement)


def _looking_up(dist: Distribution) -> Callable[[str], type[Command]]:
    original = dist.get_command_class
    made: dict[tuple[str, type], type[Command]] = {}

    def get_command_class(command: str) -> type[Command]:
        # Imported at the first look-up: most projects' `--version` needs none of it.
        from aot_build.commands.build_aot import build_aot
        from aot_build.commands.build_aot_start import build_aot_start
        from aot_build.commands.over import over

        own: dict[str, type[Command]] = {
            "build_aot": build_aot,
            "build_aot_start": build_aot_start,
        }
        base = own.get(command) or original(command)
        return made.setdefault((command, base), over(command, base))

    return get_command_class


def _is_binary(overlap: Overlap) -> Callable[[], bool]:
    def has_ext_modules() -> bool:
        # distutils asks this to tell where files go: artifacts belong into the platform folders,
        # and without it they would land in `.data/purelib`.
        return bool(overlap.extensions()) or overlap.binary()

    return has_ext_modules


def _ending(dist: Distribution, overlap: Overlap) -> Callable[[], None]:
    original = dist.run_commands

    def run_commands() -> None:
        dist.set_defaults()
        _forget_result_packages(dist, overlap.declared)
        try:
            original()
        finally:
            overlap.stop()

    return run_commands


def _hide_cache(declared: Declared) -> None:
    """Keep discovery in a flat layout from taking the cache folder for a second package.

    It would stop with "multiple top-level packages". The list belongs to the whole process, which
    builds one project.
    """
    from setuptools.discovery import FlatLayoutPackageFinder as Finder

    name = ".".join(declared.cache_dir() or ())
    if name and name not in Finder.DEFAULT_EXCLUDE:
        Finder.DEFAULT_EXCLUDE = (*Finder.DEFAULT_EXCLUDE, name, f"{name}.*")


def _forget_result_packages(dist: Distribution, declared: Declared) -> None:
    """Take artifacts and caches out of the packages that were found in the source tree.

    In place, since commands may hold the list already.
    """
    from setuptools.discovery import find_package_path

    folders = dist.package_dir or {}
    packages = dist.packages
    kept = [
        name
        for name in packages or ()
        if not declared.is_result(find_package_path(name, folders, ""))
    ]
    if isinstance(packages, list):
        packages[:] = kept
    elif packages:
        dist.packages = kept
