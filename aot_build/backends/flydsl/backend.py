"""The backend: how a function is called that launches FlyDSL kernels, and what of it ships."""

import dataclasses
import importlib.metadata
import os
import sys
import traceback
from typing import Any

import msgspec

from aot_build.backends.flydsl import environment
from aot_build.backends.flydsl.entries import PATTERN, Entries
from aot_build.backends.flydsl.environment import (
    ARCH,
    CACHE,
    COMPILE_ONLY,
    ROCM,
    SET_BY_US,
    UNSET_ENV,
    counted,
)
from aot_build.backends.fresh import perform_afresh
from aot_build.backends.python import declared_env, find_attribute, start_recording
from aot_build.core.action import Action
from aot_build.core.configuration import Configuration
from aot_build.core.kernel import Variant
from aot_build.core.roles import Roles
from aot_build.core.target import Target, parse_target
from aot_build.core.work import WorkOrder, WorkReport
from aot_build.errors import EnvironmentProblem, InputError

ARCHES = ("gfx942", "gfx950", "gfx1250")
ROLE = "rocm"
"""Of the folder that serves as ROCM_PATH."""
CURES = {
    "bitcode path": "apt-get install rocm-device-libs, or set ROCM_PATH: the kernel calls functions"
    " of AMD's device libraries",
    "lld invocation failed": "its linker is too old, or broken: apt-get install lld-19,"
    " or set ROCM_PATH to a ROCm of LLVM 19 or newer",
}
"""What a compile error says -> what helps."""


class Options(
    msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True
):
    """Keys of a `flydsl` kernel besides the common ones."""


class FlyDSL:
    """Functions that launch `@flyc.jit` functions, for AMD GPUs."""

    name = "flydsl"
    options = Options
    toolchain = "flydsl"
    python_source = True
    requires: tuple[str, ...] = ("flydsl>=0.3.1,<0.5",)
    shares = ("aot_build.backends.python",)
    """A module beside its own that shapes what it makes."""
    unset_env = UNSET_ENV
    """Taken away before the work: a package that saw them while it was imported is no use."""
    preload: tuple[str, ...] = ("aot_build.backends.flydsl.preloaded",)

    def serves(self, target: Target) -> bool:
        return target.kind == "hip" and target.arch in ARCHES

    def check(self, variant: Variant) -> None:
        """Raise InputError for what no FlyDSL kernel has."""
        foreign = {
            "flags": variant.flags,
            "include-dirs": variant.include_dirs,
            "link-flags": variant.link_flags,
        }
        where = {"kernel": variant.kernel.name, "where": variant.where or None}
        for key, given in foreign.items():
            if given:
                raise InputError(
                    f"{key!r} means nothing to a FlyDSL kernel",
                    where,
                    "what its function takes are columns of its rows",
                )
        if taken := {"out_dir", "target"} & {name for name, _ in variant.row}:
            raise InputError(
                f"column {min(taken)!r} is an argument that aot_build passes itself",
                where,
                "rename the column",
            )
        if taken := {*SET_BY_US, *UNSET_ENV} & dict(variant.kernel.env).keys():
            raise InputError(
                f"{min(taken)} is not for a kernel to set: aot_build does, or takes it away",
                where,
                "leave it out of `env`",
            )
        if len(variant.source) != 1:
            raise InputError(
                f"kernel {variant.kernel.name!r} has {len(variant.source)} sources",
                {"source": ", ".join(variant.source)},
                "give it one: package.module:function",
            )

    def action(self, variant: Variant, configuration: Configuration) -> Action:
        spec, roles, target = variant.kernel, configuration.roles, variant.target
        found = environment.keyed(configuration.env, target)
        env = {name: roles.encode_text(value) for name, value in found.items()} | dict(spec.env)
        obeyed = found | {name: roles.expand(value) for name, value in spec.env}
        tells = environment.tells_paths(obeyed)
        places = sorted(v for role, v in roles.roots.items() if role != ROLE) if tells else ()
        return Action(
            backend=self.name,
            stage="call",
            target=str(target),
            mode=configuration.mode,
            params=(
                ("named", environment.named(obeyed, target)),
                # Its line tables hold absolute paths, and nothing maps them.
                ("places", tuple(places)),
                ("row", variant.row),
                ("source", variant.source),
            ),
            inputs=(),
            toolchain=configuration.toolchain.digest,
            env=tuple(sorted(env.items())),
            salt=configuration.salt,
            outputs=(PATTERN,),
            kernel=spec.name,
            label=variant.label,
            timeout=spec.timeout,
            retries=spec.retries,
            memory=spec.memory,
        )

    def perform(self, order: WorkOrder) -> WorkReport:
        for name in UNSET_ENV:
            os.environ.pop(name, None)
        if late := _too_late(order):
            print(f"in a fresh interpreter: FlyDSL was imported without {late}", flush=True)
            answer = perform_afresh(msgspec.msgpack.encode(order))
            return msgspec.msgpack.decode(answer, type=WorkReport)
        ours = _environment(order)
        os.environ.update(ours)
        recording = start_recording(order)
        arch = {name: ours[name] for name in ARCH}
        entries = Entries(order.out_dir, order.scratch, Roles(order.roots), arch)
        try:
            entries.start()
            _call(order)
        finally:
            entries.close()
        changed = [name for name in ARCH if os.environ.get(name) != arch[name]]
        for name in (*changed, *entries.changed):
            raise InputError(
                f"the function changed {name}: it is called to compile for {arch[name]}"
            )
        if problem := entries.problem():
            raise InputError(problem[0], None, problem[1] or None)
        report = recording.report()
        trace = dataclasses.replace(report.trace, env=counted(report.trace.env))
        return dataclasses.replace(report, trace=trace, metadata=_metadata())


def _environment(order: WorkOrder) -> dict[str, str]:
    arch = parse_target(order.action.target).arch
    ours = {CACHE: order.out_dir, COMPILE_ONLY: "1", **dict.fromkeys(ARCH, arch)}
    return ours | ({ROCM: order.roots[ROLE]} if ROLE in order.roots else {})


def _call(order: WorkOrder) -> None:
    params = dict(order.action.params)
    row: dict[str, Any] = dict(params["row"])
    (source,) = params["source"]
    function = find_attribute(source)
    try:
        function(order.out_dir, order.action.target, **row)
    except Exception as error:
        cure = next((cure for said, cure in CURES.items() if said in str(error)), None)
        if cure is None:
            raise
        traceback.print_exc()
        said = next(line for line in str(error).splitlines() if any(c in line for c in CURES))
        raise EnvironmentProblem(said.strip(), {"function": source}, cure) from error


def _metadata() -> dict[str, Any]:
    """What an entry can be read by: FlyDSL's libraries are in its name, and it is a pickle."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return {"flydsl": {"version": importlib.metadata.version("flydsl"), "python": tag}}


def _too_late(order: WorkOrder) -> str:
    """A variable that a kernel declares and LLVM has read, where that is loaded already. FlyDSL
    reads its own each time that it needs them."""
    names = environment.OF_TARGET.get(parse_target(order.action.target).arch, ())
    declared = {n: v for n, v in declared_env(order).items() if n in names}
    imported = "flydsl" in sys.modules
    return next((n for n, v in declared.items() if imported and os.environ.get(n) != v), "")


BACKEND = FlyDSL()
