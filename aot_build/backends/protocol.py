"""What a backend is: it turns variant x target x mode into actions, and performs them."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

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


@runtime_checkable
class Staging(Protocol):
    """A backend that builds some variants in stages: objects first, then a library of them."""

    def stages(self, variant: Variant, configuration: Configuration) -> tuple[Action, ...]:
        """The actions before the variant's own, which finds what they left in the folders
        `{stage}/0`, `{stage}/1`, ... and is keyed by it; none where there are no stages."""


@runtime_checkable
class Preloading(Protocol):
    """A backend whose actions all import the same modules."""

    preload: tuple[str, ...]
    """Those, where they neither start threads nor look for devices: workers find them imported."""


@runtime_checkable
class Analysing(Preloading, Protocol):
    """A backend that has to ask the project's code before it can key a variant.

    The answer comes from an analysis action: cached and traced like any other, run while planning.
    """

    preload_if_named: tuple[str, ...]
    """The same of modules that are heavy: for analyses of sources whose text names them."""

    def analysis(self, variants: tuple[Variant, ...], configuration: Configuration) -> Action:
        """What to ask for the variants of one kernel and one target. Its report's metadata are
        the findings."""

    def resolve(
        self, variants: tuple[Variant, ...], findings: Mapping[str, Any]
    ) -> tuple[Variant, ...]:
        """The variants that there are to build, with what was found. Raises InputError."""
