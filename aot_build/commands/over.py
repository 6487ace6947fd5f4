"""Subclasses of a project's own commands, made when they are looked up.

Each class below is mixed in before whatever class the project uses: setuptools' own, torch's
BuildExtension (also `with_options(...)`), Cython's, or one written in setup.py.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aot_build.commands.build_aot import place_result
from aot_build.commands.complaints import in_words_of_setuptools
from aot_build.commands.options import (
    ATTRIBUTES,
    BOOLEAN_OPTIONS,
    NEGATIVE_OPTIONS,
    USER_OPTIONS,
)
from aot_build.commands.overlap import Overlap
from aot_build.layout import MANIFEST
from aot_build.wheels.modes import settle_modes
from aot_build.wheels.requirements import add_pins, check_pins, shipped_pins
from aot_build.wheels.sbom import add_sbom
from aot_build.wheels.tags import bound_tag, wheel_tag

if TYPE_CHECKING:
    from setuptools import Command
    from setuptools.command.bdist_wheel import bdist_wheel
    from setuptools.command.build import build
    from setuptools.command.build_ext import build_ext
    from setuptools.command.sdist import sdist
else:
    Command = bdist_wheel = build = build_ext = sdist = object

FIRST, LAST = "build_aot_start", "build_aot"
METADATA = "METADATA"


class OverBuild(build):
    """Starts the kernels before every other sub-command and joins them after."""

    def get_sub_commands(self) -> list[str]:
        names = [n for n in super().get_sub_commands() if n not in (FIRST, LAST)]
        if not Overlap.of(self.distribution).extensions():
            # The platform folders are wanted for the kernels' sake; a build_ext without
            # extensions is not.
            names = [n for n in names if n != "build_ext"]
        return [FIRST, *names, LAST]

    def run_command(self, command: str) -> None:
        try:
            super().run_command(command)
        finally:
            Overlap.of(self.distribution).command_ended(command)

    def run(self) -> None:
        super().run()
        # A `run` of the project's own may not iterate over the sub-commands.
        self.run_command(LAST)


class OverBuildExt(build_ext):
    """Gains the options of the whole run, and builds kernels where it is run alone."""

    def initialize_options(self) -> None:
        super().initialize_options()
        for name in ATTRIBUTES:
            setattr(self, name, None)

    def run(self) -> None:
        overlap = Overlap.of(self.distribution)
        if not self.distribution.have_run.get(FIRST):
            overlap.start()
            self._run_beside(overlap)
            place_result(overlap, build_lib=self.build_lib, inplace=bool(self.inplace))
        elif overlap.extensions() or "build_ext" in self.distribution.commands:
            self._run_beside(overlap)

    def _run_beside(self, overlap: Overlap) -> None:
        try:
            super().run()
        finally:
            overlap.command_ended("build_ext")

    def build_extension(self, ext: Any) -> None:
        sharing = Overlap.of(self.distribution).sharing
        # `--parallel` starts a thread for each extension.
        with sharing.slot() if sharing and self.parallel else contextlib.nullcontext():
            super().build_extension(ext)


class OverBdistWheel(bdist_wheel):
    """Tags the wheel, adds what its artifacts require and the SBOM, and fixes modes."""

    def get_tag(self) -> tuple[str, str, str]:
        usual = super().get_tag()
        overlap = Overlap.of(self.distribution)
        if _writes_own_tag(self) or not overlap.binary():
            return usual
        shipped, extensions = self._shipped(), overlap.extensions()
        if shipped is None and overlap.pins():
            return bound_tag(usual)
        return wheel_tag(usual, self.python_tag, shipped, extensions=extensions)

    def egg2dist(self, egginfo_path: str, distinfo_path: str) -> None:
        super().egg2dist(egginfo_path, distinfo_path)
        # Here, since metadata that are prepared beforehand come from here as well.
        pins = Overlap.of(self.distribution).pins()
        if pins:
            with in_words_of_setuptools():
                add_pins(Path(distinfo_path, METADATA), pins)

    def write_wheelfile(self, wheelfile_base: str, *args: Any, **named: Any) -> None:
        super().write_wheelfile(wheelfile_base, *args, **named)
        # An editable wheel asks for the file alone, before anything was built.
        if os.path.dirname(wheelfile_base) != self.bdist_dir:
            return
        shipped = self._shipped()
        if shipped is not None:
            with in_words_of_setuptools():
                check_pins(Path(wheelfile_base, METADATA), shipped_pins(shipped))
            package = Overlap.of(self.distribution).package
            metadata = self.distribution.metadata
            name, version = str(metadata.get_name()), str(metadata.get_version())
            add_sbom(wheelfile_base, shipped, package, name, version)
        settle_modes(self.bdist_dir)

    def _shipped(self) -> Path | None:
        """The result inside the tree that the wheel is made of; None before it is there."""
        folder = Overlap.of(self.distribution).folder_below(self.bdist_dir)
        return folder if (folder / MANIFEST).is_file() else None


class OverSdist(sdist):
    """Takes what kernels are made of along; keeps results and caches out, however broad the
    project's own patterns are."""

    def make_distribution(self) -> None:
        declared = Overlap.of(self.distribution).declared
        sources = declared.source_files(_roots(self.distribution.package_dir))
        names = sorted({*self.filelist.files, *sources})
        self.filelist.files = [name for name in names if not declared.leaves_out(name)]
        super().make_distribution()


OVER: dict[str, type[Any]] = {
    "build": OverBuild,
    "build_ext": OverBuildExt,
    "bdist_wheel": OverBdistWheel,
    "sdist": OverSdist,
}


def over(name: str, base: type[Command]) -> type[Command]:
    """The subclass of a command's class; the class itself for commands that stay as they are."""
    mixed = OVER.get(name)
    if mixed is None or issubclass(base, mixed):
        return base
    # distutils looks options up by the class's name: torch's is called BuildExtension.
    members: dict[str, Any] = {"__module__": base.__module__, "command_name": name}
    if name == "build_ext":
        members |= {
            "user_options": [*base.user_options, *USER_OPTIONS],
            "boolean_options": [*getattr(base, "boolean_options", ()), *BOOLEAN_OPTIONS],
            "negative_opt": {**getattr(base, "negative_opt", {}), **NEGATIVE_OPTIONS},
        }
    if name == "build":
        inner = getattr(base, "sub_commands", [])
        members["sub_commands"] = [(FIRST, None), *inner, (LAST, None)]
    return type(base.__name__, (mixed, base), members)


def _roots(package_dir: dict[str, str] | None) -> list[str]:
    """Folders that top-level packages are found in."""
    named = package_dir or {}
    parents = (os.path.dirname(folder) for name, folder in named.items() if name)
    return sorted({named.get("", ""), *parents})


def _writes_own_tag(command: object) -> bool:
    """Whether the project overrides `get_tag`: then it knows better."""
    for base in type(command).__mro__:
        if "get_tag" in vars(base) and base is not OverBdistWheel:
            return base.__module__.partition(".")[0] not in ("setuptools", "wheel")
    return False
