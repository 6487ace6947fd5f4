"""`build`'s first sub-command: start the kernels, then let the rest of the wheel build."""

from __future__ import annotations

from typing import ClassVar

from setuptools import Command

from aot_build.commands.overlap import Overlap


class build_aot_start(Command):
    """Implements setuptools' SubCommand protocol; it has no files of its own."""

    description = "start building the kernels declared in [tool.aot-build]"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = []
    editable_mode = False

    def initialize_options(self) -> None:
        self.build_lib: str | None = None
        self.editable_mode = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_lib", "build_lib"))

    def run(self) -> None:
        Overlap.of(self.distribution).start()

    def get_source_files(self) -> list[str]:
        return []

    def get_outputs(self) -> list[str]:
        return []

    def get_output_mapping(self) -> dict[str, str]:
        return {}
