"""The backend: what a row of a Triton kernel compiles to, and the work itself, in a worker."""

import dataclasses
import os
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from aot_build.backends.fresh import perform_afresh
from aot_build.backends.triton import environment
from aot_build.backends.triton.environment import UNSET_ENV, counted, files, is_keyed
from aot_build.backends.triton.launches import captured
from aot_build.backends.triton.launches import declared as declared_variants
from aot_build.core.action import Action
from aot_build.core.configuration import Configuration
from aot_build.core.kernel import Variant
from aot_build.core.target import Target, parse_target
from aot_build.core.work import WorkOrder, WorkReport
from aot_build.errors import InputError

DESCRIBE, CAPTURE, KERNEL = "describe", "capture", "kernel"
"""Stages: say what a JIT function takes; note what a plain function launches; compile."""


class Options(
    msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True
):
    """Keys of a `triton` kernel besides the common ones."""

    signature: dict[str, str | int | float | bool] = {}
    """Type of each parameter that is no constexpr, as for `triton.tools.compile`: `*bf16:16`,
    `i32:16`, `i32:1`, `none`, a number; `{column}` is filled in from the row. Without it, `source`
    is a plain function, whose launches are captured."""
    enable_fp_fusion: bool = True
    """Whether products and sums may be fused; a column `enable_fp_fusion` says so for a row."""
    keep: str | None = None
    """`module:function`, asked as `function(config, target, **row)` which of the configurations
    of an autotuner to build; by default all of them. Where it takes `function`, that is the name
    of the kernel."""


class Triton:
    """Triton kernels for GPUs of both makers."""

    name = "triton"
    options = Options
    toolchain = "triton"
    python_source = True
    requires: tuple[str, ...] = ("triton>=3.7",)
    shares = ("aot_build.backends.python", "aot_build.core.hardware")
    """Modules beside its own that shape what it makes: what launches see, and what is refused."""
    unset_env = UNSET_ENV
    """Taken away before the work: a package that saw them while it was imported is no use."""
    preload: tuple[str, ...] = ("aot_build.backends.triton.preloaded",)
    preload_if_named: tuple[str, ...] = ("torch",)

    def serves(self, target: Target) -> bool:
        return target.kind in ("cuda", "hip")

    def check(self, variant: Variant) -> None:
        """Raise InputError for what no Triton kernel has."""
        foreign = {
            "flags": variant.flags,
            "include-dirs": variant.include_dirs,
            "link-flags": variant.link_flags,
        }
        for key, given in foreign.items():
            if given:
                raise InputError(
                    f"{key!r} means nothing to a Triton kernel",
                    {"kernel": variant.kernel.name, "where": variant.where or None},
                    "compile options such as num_warps are columns of its rows",
                )
        if len(variant.source) != 1:
            raise InputError(
                f"kernel {variant.kernel.name!r} has {len(variant.source)} sources",
                {"source": ", ".join(variant.source)},
                "give it one: package.module:function",
            )

    # Planning

    def analysis(self, variants: tuple[Variant, ...], configuration: Configuration) -> Action:
        spec, first = variants[0].kernel, variants[0]
        options = dict(spec.options)
        captures = not options.get("signature")
        rows = tuple(variant.row for variant in variants) if captures else ()
        keep = options.get("keep")
        return self._action(
            first,
            configuration,
            CAPTURE if captures else DESCRIBE,
            f"launches of {first.source[0]}" if captures else f"signature of {first.source[0]}",
            (
                ("fusion", options.get("enable-fp-fusion", True)),
                ("keep", keep),
                ("rows", rows),
                ("source", first.source[0]),
            ),
        )

    def resolve(
        self, variants: tuple[Variant, ...], findings: Mapping[str, Any]
    ) -> tuple[Variant, ...]:
        return (
            captured(variants, findings)
            if "launches" in findings
            else declared_variants(variants, findings)
        )

    def action(self, variant: Variant, configuration: Configuration) -> Action:
        return self._action(
            variant,
            configuration,
            KERNEL,
            variant.label,
            (*variant.findings, ("line-info", _line_info(configuration))),
        )

    def _action(
        self,
        variant: Variant,
        configuration: Configuration,
        stage: str,
        label: str,
        params: tuple[tuple[str, Any], ...],
    ) -> Action:
        spec = variant.kernel
        roles, around = configuration.roles, configuration.env
        found = environment.keyed(around, variant.target)
        env = {name: roles.encode_text(value) for name, value in found.items()} | dict(spec.env)
        declared = {name: roles.expand(value) for name, value in spec.env}
        path = declared.get("PATH") or around.get("PATH", os.defpath)
        named = {n: v for n, v in {**found, **declared}.items() if is_keyed(n, variant.target)}
        return Action(
            backend=self.name,
            stage=stage,
            target=str(variant.target),
            mode=configuration.mode,
            params=params,
            inputs=tuple((roles.encode(file), "") for file in files(named, path)),
            toolchain=configuration.toolchain.digest,
            env=tuple(sorted(env.items())),
            salt=configuration.salt,
            kernel=spec.name,
            label=label,
            timeout=spec.timeout,
            retries=spec.retries,
            memory=spec.memory,
        )

    # Work

    def perform(self, order: WorkOrder) -> WorkReport:
        from aot_build.backends.python import set_environment
        from aot_build.backends.triton import perform

        for name in UNSET_ENV:
            os.environ.pop(name, None)
        if late := _too_late(order):
            print(f"in a fresh interpreter: Triton was imported without {late}", flush=True)
            answer = perform_afresh(msgspec.msgpack.encode(order))
            return msgspec.msgpack.decode(answer, type=WorkReport)
        set_environment(order)
        report: WorkReport = perform.STAGES[order.action.stage](order)
        trace = dataclasses.replace(report.trace, env=counted(report.trace.env))
        return dataclasses.replace(report, trace=trace)


def _too_late(order: WorkOrder) -> str:
    """A variable that a kernel declares, where Triton is imported already: it keeps some of them
    from then on."""
    from aot_build.backends.python import declared_env

    target = parse_target(order.action.target)
    changed = (name for name, value in declared_env(order).items() if os.environ.get(name) != value)
    imported = "triton" in sys.modules
    return next((name for name in changed if imported and is_keyed(name, target)), "")


def _line_info(configuration: Configuration) -> bool:
    """Lines of the source are told where the mode has compilers tell them."""
    return any(flag.startswith("-g") for flag in configuration.flags)


BACKEND = Triton()
