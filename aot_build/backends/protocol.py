"""What a backend is: it turns variant x target x mode into actions, and performs them."""

from typing import Protocol

import msgspec

from aot_build.core.action import Action
from aot_build.core.configuration import Configuration
from aot_build.core.kernel import Variant
from aot_build.core.target import Target
from aot_build.core.work import WorkOrder, WorkReport


class Backend(Protocol):
    """Two halves: `check` and `action` run while planning, `perform` runs in a worker.

    Other packages add backends through the entry-point group `aot_build.backends`: a name, and a
    module attribute that holds an instance.
    """

    name: str
    options: type[msgspec.Struct]
    """The backend's own keys of `[[tool.aot-build.kernels]]`, kebab-case, all with defaults."""
    toolchain: str
    """Name of the toolchain that its actions run: `cxx`, `python`, ..."""
    python_source: bool
    """Whether `source` is `package.module:attribute` rather than files."""
    requires: tuple[str, ...]
    """Requirements of an isolated build that declares such a kernel."""

    def serves(self, target: Target) -> bool:
        """Whether it can compile for the target."""

    def check(self, variant: Variant) -> None:
        """Raise InputError where the row cannot be compiled: before anything runs."""

    def action(self, variant: Variant, configuration: Configuration) -> Action:
        """The action of a variant. Reads no file: its `inputs` are paths by role with empty
        digests, which the planner fills in."""

    def perform(self, order: WorkOrder) -> WorkReport:
        """Do the work, in a process of its own."""
