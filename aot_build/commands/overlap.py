"""The build that goes on beside the commands of one distribution: start early, join late."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aot_build import snapshot
from aot_build.commands.asked import config_settings, front_end
from aot_build.commands.complaints import in_words_of_setuptools
from aot_build.commands.declared import Declared
from aot_build.commands.options import Options, switched_off
from aot_build.layout import LOCK, RESULT
from aot_build.request import Request
from aot_build.wheels.requirements import PINNED, pins

if TYPE_CHECKING:
    from setuptools import Distribution

    from aot_build.commands.sharing import Sharing
    from aot_build.events import Event
    from aot_build.frontend import Build

ATTRIBUTE = "_aot_build_overlap"


class Overlap:
    """At most one build at a time; its result lies in `build/aot/<package>/_aot`."""

    def __init__(self, dist: Distribution, declared: Declared) -> None:
        self._dist = dist
        self._build: Build | None = None
        self._result: Path | None = None
        self._joined = False
        self.sharing: Sharing | None = None
        """What the build tools of other commands share with the build, while both go on."""
        self.declared = declared
        self.extensions: Callable[[], bool] = dist.has_ext_modules
        """Whether there are extension modules: what the project's own distribution class says."""

    @staticmethod
    def of(dist: Distribution) -> Overlap:
        """The one that was plugged into the distribution; OptionError where none was."""
        found = getattr(dist, ATTRIBUTE, None)
        if not isinstance(found, Overlap):
            from setuptools import errors

            raise errors.OptionError("no [tool.aot-build] table in pyproject.toml")
        return found

    @property
    def package(self) -> str:
        """The import package that carries the artifacts, dotted."""
        return self.declared.package(self._dist.get_name())

    def wanted(self) -> bool:
        """Whether this run builds kernels at all: neither switched off nor `targets = none`."""
        options = self._options()
        return options.on and not switched_off(
            self.declared.table, os.environ, config_settings(), options
        )

    def binary(self) -> bool:
        """Whether the distribution carries artifacts, and so belongs to a platform.

        Asked before, during and after a build, so it rests on what is declared alone.
        """
        return bool(self.declared.kernels()) and self.wanted()

    def pins(self) -> dict[str, str]:
        """Distributions of which a wheel of this run requires one version alone: name -> version.

        Asked before a build as well as after, so it rests on what is declared and installed.
        Raises what setuptools makes a message of.
        """
        declared = {kernel.get("backend") for kernel in self.declared.kernels()}
        if declared.isdisjoint(PINNED) or not self.wanted():
            return {}
        from aot_build.opening import backends_built

        options = self._options()
        with in_words_of_setuptools():
            request = Request(
                project=self.declared.project,
                targets=options.targets,
                mode=options.mode,
                config_settings=config_settings(),
                package_dir=self._told_package_dir(),
            )
            return pins(backends_built(request, PINNED))

    def start(self, *, beside: bool = True) -> None:
        """Start the build where one is wanted. Idempotent until `stop`.

        `beside` other commands, whose build tools then share the CPU tokens with it.
        """
        if self._build is not None or self._joined:
            return
        if not self.wanted():
            _tell_of_nothing()
            return
        self.sharing = sharing = self._share() if beside and self.extensions() else None
        with in_words_of_setuptools():
            self._build = self._started(sharing)
        if sharing is not None and self._build.started:
            sharing.enter()
        else:
            self._stop_sharing()

    def _started(self, sharing: Sharing | None) -> Build:
        from aot_build import frontend

        options = self._options()
        return frontend.start(
            self.declared.project,
            targets=options.targets,
            mode=options.mode,
            jobs=options.jobs,
            keep_going=options.keep_going,
            config_settings=config_settings(),
            package_dir=self._told_package_dir(),
            emit=_console(self._dist),
            front_end=front_end(),
            tokens=sharing.addresses if sharing else (),
            ended=sharing.bury if sharing else None,
        )

    def _share(self) -> Sharing | None:
        from aot_build.commands.sharing import Sharing

        modules = self._dist.ext_modules or ()
        sharing = Sharing.of(self._build_folder(), modules)
        if sharing is not None and _by_ninja(self._dist.get_command_class("build_ext")):
            sharing.expect(sum(len(each.sources) for each in modules))
        return sharing

    def join(self) -> Path | None:
        """Wait for the build; the folder of its result, None where nothing was to be built."""
        self.start(beside=False)
        if self._build is not None and not self._joined:
            if self.sharing is not None:
                self.sharing.leave()
            with in_words_of_setuptools():
                self._build.wait()
            self._stop_sharing()
            self._joined = True
            package = self._build.package
            if package:
                self._result = self.result_folder(package)
        return self._result

    def command_ended(self, name: str) -> None:
        """Make good what tools of a command that has ended took along, if they were killed."""
        if self.sharing is not None:
            if name == "build_ext":
                self.sharing.expect(0)
            self.sharing.refill()

    def build_again(self) -> None:
        """Forget that there was a build, and that a snapshot vouches for its result; build."""
        self.stop()
        snapshot.forget(self.declared.project)
        self.join()

    def stop(self) -> None:
        """End what still runs, and forget it. Idempotent."""
        build, self._build = self._build, None
        self._joined, self._result = False, None
        try:
            if build is not None:
                build.stop()
        finally:
            self._stop_sharing()

    def _stop_sharing(self) -> None:
        sharing, self.sharing = self.sharing, None
        if sharing is not None:
            sharing.close()

    def result_folder(self, package: str | None = None) -> Path:
        """Where a build leaves the result of a package."""
        parts = (package or self.package).split(".")
        return self._build_folder().joinpath(*parts, RESULT)

    def lock(self) -> Path:
        """The file that is locked by whoever fills or copies the result."""
        return self._build_folder() / LOCK

    def folder_below(self, root: str | Path) -> Path:
        """Where the result belongs in a build folder."""
        return Path(root, *self.package.split("."), RESULT)

    def source_folder(self) -> Path:
        """Where the result belongs in the source tree."""
        return Path(self._package_dir(), RESULT)

    def _build_folder(self) -> Path:
        return Path(self.declared.project, *snapshot.FOLDER)

    def _package_dir(self) -> str:
        from setuptools.discovery import find_package_path

        root = self.declared.project
        return find_package_path(self.package, self._dist.package_dir or {}, root)

    def _told_package_dir(self) -> str | None:
        """The source folder of the package, where pyproject.toml alone does not tell it."""
        scripts = (Path(self.declared.project, name) for name in ("setup.py", "setup.cfg"))
        if not any(script.is_file() for script in scripts):
            return None
        folder = self._package_dir()
        return folder if Path(folder).is_dir() else None

    def _options(self) -> Options:
        return Options.of(self._dist)


def _console(dist: Distribution) -> Callable[[Event], Any] | None:
    verbose = int(getattr(dist, "verbose", 1))
    if not verbose:
        # `--quiet`: what fails is raised, and nothing else was asked for.
        return None
    from aot_build.report.console import Console
    from aot_build.report.narration import Verbosity

    return Console(sys.stderr, Verbosity.VERBOSE if verbose > 1 else Verbosity.NORMAL).emit


def _by_ninja(command: type[object]) -> bool:
    """Whether a class of build_ext hands all sources of an extension to ninja: torch's does."""
    return any(base.__module__ == "torch.utils.cpp_extension" for base in command.__mro__)


def _tell_of_nothing() -> None:
    """Whoever asked for a summary gets one of a build without kernels, too."""
    if os.environ.get("AOT_BUILD_SUMMARY"):
        from aot_build.events import Summary
        from aot_build.frontend import write_summary

        write_summary(Summary().to_json())
