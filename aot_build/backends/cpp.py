"""C++ for the CPU: each variant a shared library with a C ABI, which outlives torch releases.

Each parameter of a row becomes `-D<NAME>=<value>`; booleans 1 or 0, None leaves it undefined.
Compilation happens in the action's scratch folder; prefix maps and a fixed date keep the bytes
the same in every checkout.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from aot_build.backends.command import QUIET_REDEFINITION, TIMESTAMP, command_env, keyed_env, run
from aot_build.backends.flags import (
    LINK_DEPFILE,
    absent_libraries,
    absent_programs,
    brought,
    linked,
    named_files,
    searched,
    tells_inputs,
)
from aot_build.backends.macros import check_macros, macros
from aot_build.backends.tracing.compilers import Compilers
from aot_build.backends.tracing.depfile import extended, trace_of_depfiles
from aot_build.core.action import Action
from aot_build.core.configuration import Configuration
from aot_build.core.kernel import Variant
from aot_build.core.roles import Roles
from aot_build.core.target import Target
from aot_build.core.trace import Trace
from aot_build.core.work import WorkOrder, WorkReport


class Options(
    msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True
):
    """Keys of a `cpp` kernel besides the common ones."""

    standard: str = "c++17"
    """Language standard, passed as `-std=`."""
    openmp: bool = False
    """Compile with OpenMP where the compiler has it; without it the source must still be right."""


class Cpp:
    """g++ and clang++."""

    name = "cpp"
    options = Options
    toolchain = "cxx"
    python_source = False
    requires: tuple[str, ...] = ()
    shares = ("aot_build.backends.command", "aot_build.backends.macros")
    """Modules beside its own that shape what it makes."""

    def serves(self, target: Target) -> bool:
        return target.kind == "cpu"

    def check(self, variant: Variant) -> None:
        check_macros(variant, "C++")

    def action(self, variant: Variant, configuration: Configuration) -> Action:
        spec, roles = variant.kernel, configuration.roles
        options = dict(spec.options)
        openmp = bool(options.get("openmp")) and "openmp" in configuration.toolchain.features
        encode = roles.encode_text
        flags = (*configuration.flags, *map(encode, variant.flags))
        link_flags = tuple(map(encode, variant.link_flags))
        return Action(
            backend=self.name,
            stage="library",
            target=str(variant.target),
            mode=configuration.mode,
            params=(
                ("name", spec.name),
                ("row", variant.row),
                ("standard", options.get("standard", "c++17")),
                ("flags", flags),
                ("include-dirs", tuple(map(encode, variant.include_dirs))),
                ("link-flags", link_flags),
                ("openmp", openmp),
                ("link-depfile", tells_inputs(configuration, variant)),
                *brought(configuration, (*flags, *link_flags), spec.env),
            ),
            inputs=tuple((path, "") for path in variant.source),
            toolchain=configuration.toolchain.digest,
            env=keyed_env(spec.env, configuration),
            salt=configuration.salt,
            kernel=spec.name,
            label=variant.label,
            command=configuration.toolchain.command,
            timeout=spec.timeout,
            retries=spec.retries,
            memory=spec.memory,
        )

    def perform(self, order: WorkOrder) -> WorkReport:
        action, roles = order.action, Roles(order.roots)
        params = dict(action.params)
        env = command_env(action, roles, order)
        compilers = Compilers(order)
        scratch = Path(order.scratch)
        objects: list[str] = []
        depfiles: list[Path] = []
        for number, (source, _) in enumerate(action.inputs):
            built, depfile = scratch / f"{number}.o", scratch / f"{number}.d"
            command = [
                *_compile_words(action, params, roles, order), f"-frandom-seed={source}",
                roles.decode(source), "-c", "-o", built.name, "-MD", "-MF", depfile.name,
            ]  # fmt: skip
            if error := run(command, env, scratch):
                return WorkReport(error=error)
            objects.append(built.name)
            depfiles.append(depfile)
        library = Path(order.out_dir) / f"{params['name']}.so"
        link = [*action.command, *_shared_flags(params), *objects, "-o", str(library)]
        if params["link-depfile"]:
            link.append(f"-Wl,--dependency-file={LINK_DEPFILE}")
        link += [roles.expand(flag) for flag in params["link-flags"]]
        if error := run(link, env, scratch):
            return WorkReport(error=error)
        return compilers.report(lambda: _told(order, depfiles))


def _told(order: WorkOrder, depfiles: list[Path]) -> Trace:
    """What the compilers say that they read."""
    params, roles, scratch = dict(order.action.params), Roles(order.roots), Path(order.scratch)
    folders = searched(order.action, params, params["flags"], roles)
    trace = trace_of_depfiles(depfiles, folders, roles, scratch)
    flags = (*params["flags"], *params["link-flags"])
    read = linked(scratch) | named_files(flags, roles)
    missed = absent_libraries(params["link-flags"], roles)
    missed |= absent_programs(flags, dict(order.action.env), roles)
    return extended(trace, read, missed, roles)


def _compile_words(
    action: Action, params: Mapping[str, Any], roles: Roles, order: WorkOrder
) -> list[str]:
    return [
        *action.command,
        f"-std={params['standard']}",
        "-fPIC",
        QUIET_REDEFINITION,
        TIMESTAMP,
        *_prefix_maps(order),
        *(["-fopenmp"] if params["openmp"] else []),
        *(f"-I{roles.decode(d)}" for d in params["include-dirs"]),
        *(f"-D{name}={text}" for name, text in macros(params["row"])),
        *(roles.expand(flag) for flag in params["flags"]),
    ]


def _prefix_maps(order: WorkOrder) -> list[str]:
    """The last map that fits wins: the deepest folder comes last, scratch lies in the project."""
    roots = {root: "." if role == "project" else role for role, root in order.roots.items()}
    roots[order.scratch] = "."
    return [f"-ffile-prefix-map={root}={roots[root]}" for root in sorted(roots, key=len)]


def _shared_flags(params: Mapping[str, Any]) -> list[str]:
    return ["-shared", *(["-fopenmp"] if params["openmp"] else [])]


BACKEND = Cpp()
