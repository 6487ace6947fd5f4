"""CUDA C++ by nvcc: a cubin for each source, or one shared library of host and device code.

Each parameter of a row becomes a macro, as for `cpp`, but one that is defined behind
`cuda_runtime.h`: a column named `T` would end in the templates of that header. Code is compiled
for the one real architecture that the target names, and no PTX is kept.
"""

import os
import shlex
from collections import Counter
from typing import Any, Literal

import msgspec

from aot_build.backends.command import keyed_env
from aot_build.backends.cuda.compile import Compile
from aot_build.backends.flags import brought, tells_inputs
from aot_build.backends.macros import check_macros
from aot_build.core.action import Action
from aot_build.core.configuration import Configuration
from aot_build.core.kernel import Variant
from aot_build.core.target import Target
from aot_build.core.toolchain import Toolchain
from aot_build.core.work import WorkOrder, WorkReport
from aot_build.errors import EnvironmentProblem, InputError

CUBIN, OBJECT, LINK = "cubin", "object", "link"
"""Stages."""
Params = tuple[tuple[str, Any], ...]
AROUND = ("NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS")
"""What nvcc takes from the environment; written among the flags, where folders are looked for."""


class Options(
    msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True
):
    """Keys of a `cuda` kernel besides the common ones."""

    standard: str = "c++17"
    """Language standard, passed as `-std=`."""
    output: Literal["cubin", "library"] = "cubin"
    """`cubin`: device code, one file for each source; `library`: host and device code of all
    sources, each compiled by itself, in one shared library with the CUDA runtime."""


class Cuda:
    """nvcc."""

    name = "cuda"
    options = Options
    toolchain = "nvcc"
    python_source = False
    requires: tuple[str, ...] = ()
    shares = ("aot_build.backends.command", "aot_build.backends.macros")
    """Modules beside its own that shape what it makes."""

    def serves(self, target: Target) -> bool:
        return target.kind == "cuda"

    def check(self, variant: Variant) -> None:
        check_macros(variant, "CUDA")
        if _is_library(variant):
            return
        stems = Counter(os.path.splitext(os.path.basename(path))[0] for path in variant.source)
        for stem, count in stems.items():
            if count > 1:
                raise InputError(
                    f"{count} sources of kernel {variant.kernel.name!r} would leave {stem}.cubin",
                    {"sources": ", ".join(variant.source), "where": variant.where or None},
                    'rename one of them, or set output = "library"',
                )

    def stages(self, variant: Variant, configuration: Configuration) -> tuple[Action, ...]:
        """The objects of a library, one a source; what names the library is none of theirs."""
        if not _is_library(variant):
            return ()
        params = _compile_params(variant, configuration)
        return tuple(
            self._action(variant, configuration, OBJECT, params, (source,))
            for source in variant.source
        )

    def action(self, variant: Variant, configuration: Configuration) -> Action:
        _check_served(variant, configuration.toolchain)
        name = (("name", variant.kernel.name),)
        if _is_library(variant):
            params = name + _link_params(variant, configuration)
            return self._action(variant, configuration, LINK, params, ())
        params = name + _compile_params(variant, configuration)
        return self._action(variant, configuration, CUBIN, params, variant.source)

    def _action(
        self, variant: Variant, configuration: Configuration, stage: str, params: Params,
        source: tuple[str, ...],
    ) -> Action:  # fmt: skip
        spec = variant.kernel
        env = dict(keyed_env(spec.env, configuration))
        return Action(
            backend=self.name,
            stage=stage,
            target=str(variant.target),
            mode=configuration.mode,
            params=params,
            inputs=tuple((path, "") for path in source),
            toolchain=configuration.toolchain.digest,
            env=tuple((name, value) for name, value in sorted(env.items()) if name not in AROUND),
            salt=configuration.salt,
            kernel=spec.name,
            label=variant.label,
            command=configuration.toolchain.command,
            timeout=spec.timeout,
            retries=spec.retries,
            memory=spec.memory,
        )

    def perform(self, order: WorkOrder) -> WorkReport:
        work = Compile(order)
        performed = {CUBIN: work.cubins, OBJECT: work.object, LINK: work.library}
        return performed[order.action.stage]()


def _is_library(variant: Variant) -> bool:
    return dict(variant.kernel.options).get("output") == "library"


def _compile_params(variant: Variant, configuration: Configuration) -> Params:
    encode = configuration.roles.encode_text
    declared = dict(variant.kernel.env)
    around = (declared.get(name) or configuration.env.get(name, "") for name in AROUND)
    first, last = map(shlex.split, around)
    own = tuple(map(encode, (*first, *variant.flags, *last)))
    flags = (*configuration.flags, *own)
    return (
        ("row", variant.row),
        ("standard", dict(variant.kernel.options).get("standard", "c++17")),
        ("flags", flags),
        ("include-dirs", tuple(map(encode, variant.include_dirs))),
        *brought(configuration, flags, _own_env(variant)),
    )


def _link_params(variant: Variant, configuration: Configuration) -> Params:
    flags = tuple(map(configuration.roles.encode_text, variant.link_flags))
    return (
        ("link-flags", flags),
        ("link-depfile", tells_inputs(configuration, variant)),
        *brought(configuration, flags, _own_env(variant)),
    )


def _own_env(variant: Variant) -> list[tuple[str, str]]:
    return [(name, value) for name, value in variant.kernel.env if name not in AROUND]


def _check_served(variant: Variant, toolchain: Toolchain) -> None:
    """A compiler serves the architectures of some years; suffixes come with the architecture."""
    served = [name for name in toolchain.features if name.startswith("sm_")]
    if served and variant.target.arch.rstrip("af") not in served:
        raise EnvironmentProblem(
            f"nvcc {toolchain.version} does not compile for {variant.target.arch}",
            {"kernel": variant.kernel.name, "target": variant.target, "nvcc": toolchain.command[0],
             "compiles for": ", ".join(served)},
            f"drop {variant.target} from [tool.aot-build] targets, or set CUDA_HOME to a toolkit"
            " that has it",
        )  # fmt: skip


BACKEND = Cuda()
