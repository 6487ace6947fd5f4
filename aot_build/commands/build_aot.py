"""`build`'s last sub-command: wait for the kernels, put them where they ship from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from setuptools import Command

from aot_build.commands import deliver
from aot_build.commands.complaints import in_words_of_setuptools
from aot_build.commands.overlap import Overlap
from aot_build.locking import locked


class build_aot(Command):
    """Implements setuptools' SubCommand protocol."""

    description = "build the kernels declared in [tool.aot-build]"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = [
        ("build-lib=", "d", "folder to put the result into"),
    ]
    editable_mode = False

    def initialize_options(self) -> None:
        self.build_lib: str | None = None
        self.editable_mode = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_lib", "build_lib"))

    def run(self) -> None:
        build_ext = self.get_finalized_command("build_ext")
        inplace = not self.editable_mode and bool(getattr(build_ext, "inplace", False))
        place_result(
            Overlap.of(self.distribution),
            build_lib=None if self._lenient() else self.build_lib,
            inplace=inplace or self._lenient(),
        )

    def get_source_files(self) -> list[str]:
        # The sdist takes them by itself: what is named here would also ship, as data of a package.
        return []

    def get_outputs(self) -> list[str]:
        overlap = Overlap.of(self.distribution)
        if not overlap.wanted():
            return []
        folder = overlap.folder_below(self.build_lib or "")
        return [str(folder / name) for name in deliver.names(overlap.result_folder())]

    def get_output_mapping(self) -> dict[str, str]:
        if not self._lenient():
            return {}
        overlap = Overlap.of(self.distribution)
        source, project = overlap.source_folder(), overlap.declared.project
        folder = overlap.folder_below(self.build_lib or "")
        return {
            output: os.path.relpath(source / Path(output).relative_to(folder), project)
            for output in self.get_outputs()
        }

    def _lenient(self) -> bool:
        """Whether this is an editable install that imports from the source tree itself.

        A strict one imports from a tree of links and copies, so that its result needs no place
        among the sources.
        """
        wheel = self.distribution.get_command_obj("editable_wheel", create=False)
        mode = str(getattr(wheel, "mode", None) or "lenient")
        return self.editable_mode and mode.lower() != "strict"


def place_result(overlap: Overlap, *, build_lib: str | None, inplace: bool) -> None:
    """Join the build, then copy its result into `build_lib`, the source tree, or both.

    Where nothing was built, a result of an earlier build is removed from `build_lib`: it would
    ship. The source tree's is left alone: whoever builds without kernels may go on using it.
    """
    result = overlap.join()
    with in_words_of_setuptools():
        if build_lib is not None and result is None:
            deliver.remove(overlap.folder_below(build_lib))
        if result is None:
            return
        if build_lib is not None:
            _copy(overlap, result, overlap.folder_below(build_lib))
        if inplace:
            _copy(overlap, result, overlap.source_folder())


def _copy(overlap: Overlap, result: Path, folder: Path) -> None:
    """Copy the result; where somebody edited it, build again and copy that.

    The lock is not held meanwhile: the build takes it as well.
    """
    try:
        with locked(overlap.lock(), exclusive=False):
            deliver.deliver(result, folder)
    except deliver.DamagedResult as damaged:
        # A file that went bad without any trace in its stat would be taken for placed already.
        deliver.remove(damaged.file)
        overlap.build_again()
        with locked(overlap.lock(), exclusive=False):
            deliver.deliver(result, folder)
