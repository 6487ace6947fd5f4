"""`module:function`, called as `function(out_dir, target, **row)`: how any compiler joins in.

Every file that it leaves in `out_dir` (or those that `outputs` names) is an artifact.
"""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from aot_build.backends.tracing.recording import Recording
from aot_build.backends.unbuilt import UnbuiltKernels
from aot_build.core.action import Action
from aot_build.core.configuration import Configuration
from aot_build.core.kernel import Variant
from aot_build.core.roles import Roles
from aot_build.core.target import Target
from aot_build.core.work import WorkOrder, WorkReport
from aot_build.errors import InputError, did_you_mean


class Options(
    msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True
):
    """Keys of a `python` kernel besides the common ones."""

    outputs: tuple[str, ...] = ()
    """Glob patterns of the files in `out_dir` that are artifacts; default: all of them."""


class Python:
    """A function of the project, or of a package that it depends on."""

    name = "python"
    options = Options
    toolchain = "python"
    python_source = True
    requires: tuple[str, ...] = ()

    def serves(self, target: Target) -> bool:
        return True

    def check(self, variant: Variant) -> None:
        taken = {"out_dir", "target"} & {name for name, _ in variant.row}
        if taken:
            raise InputError(
                f"column {min(taken)!r} is an argument that aot_build passes itself",
                {"kernel": variant.kernel.name, "where": variant.where},
                "rename the column",
            )

    def action(self, variant: Variant, configuration: Configuration) -> Action:
        spec = variant.kernel
        outputs = dict(spec.options).get("outputs") or ()
        assert isinstance(outputs, tuple)
        return Action(
            backend=self.name,
            stage="call",
            target=str(variant.target),
            mode=configuration.mode,
            params=(("row", variant.row), ("source", variant.source)),
            inputs=(),
            toolchain=configuration.toolchain.digest,
            env=spec.env,
            salt=configuration.salt,
            outputs=tuple(map(str, outputs)),
            kernel=spec.name,
            label=variant.label,
            timeout=spec.timeout,
            retries=spec.retries,
            memory=spec.memory,
        )

    def perform(self, order: WorkOrder) -> WorkReport:
        params = dict(order.action.params)
        row = dict(params["row"])
        (source,) = params["source"]

        def call(function: Callable[..., Any]) -> None:
            function(order.out_dir, order.action.target, **row)

        return call_recorded(source, order, call)[0]


def call_recorded(
    source: str, order: WorkOrder, call: Callable[[Callable[..., Any]], Any]
) -> tuple[WorkReport, Any]:
    """Import `module:attribute`, hand it to `call`, and say what all of that read.

    Raises whatever the imports and the call raise.
    """
    recording = start_recording(order)
    answer = call(find_attribute(source))
    return recording.report(), answer


def start_recording(order: WorkOrder) -> Recording:
    """Get ready to import the project's code: what happens from here on is recorded."""
    sys.path[:0] = list(order.import_roots)
    set_environment(order)
    UnbuiltKernels(order.package, order.runtime, order.scratch).start()
    recording = Recording(order)
    recording.start()
    return recording


def declared_env(order: WorkOrder) -> dict[str, str]:
    """What the action declares, its placeholders filled in."""
    return {
        name: Roles(order.roots)
        .expand(value)
        .replace("{out_dir}", order.out_dir)
        .replace("{target}", order.action.target)
        for name, value in order.action.env
    }


def set_environment(order: WorkOrder) -> None:
    """Set what the action declares."""
    os.environ.update(declared_env(order))


def find_attribute(source: str) -> Any:
    """The object behind `package.module:attribute`. Raises ImportError or InputError."""
    module_name, _, attribute = source.partition(":")
    found: Any = importlib.import_module(module_name)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InputError(
                f"{module_name!r} has no attribute {attribute!r}",
                {"source": source},
                did_you_mean(part, [n for n in dir(found) if not n.startswith("_")]),
            )
        found = getattr(found, part)
    return found


BACKEND = Python()
