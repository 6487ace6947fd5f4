"""C++ for the CPU: each variant a shared library with a C ABI, which outlives torch releases.

Each parameter of a row becomes `-D<NAME>=<value>`; booleans 1 or 0, None leaves it undefined.
Compilation happens in the action's scratch folder; prefix maps and a fixed date keep the bytes
the same in every checkout.
"""

import contextlib
import dataclasses
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from aot_build.backends.depfile import read_depfile, trace_of_depfiles
from aot_build.core.action import Action
from aot_build.core.configuration import Configuration
from aot_build.core.kernel import Variant
from aot_build.core.roles import Roles
from aot_build.core.target import Target
from aot_build.core.work import WorkOrder, WorkReport
from aot_build.errors import InputError

KEYED_ENV = (
    "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "LIBRARY_PATH",
    "GCC_EXEC_PREFIX", "COMPILER_PATH", "GCC_COMPARE_DEBUG", "SYSROOT", "MACOSX_DEPLOYMENT_TARGET",
    "DEVELOPER_DIR", "SDKROOT",
)  # fmt: skip
"""What gcc and clang obey; nothing else of the environment reaches them but the names below."""
PASSED_ENV = ("PATH", "HOME", "LD_LIBRARY_PATH", "SYSTEMROOT")
"""Where programs and their libraries are found: the toolchain digest holds their content."""
LINK_DEPFILE = "link.d"
FIXED_ENV = {"LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": "315532800"}
"""`__DATE__` is the same in every build (1 January 1980)."""


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

    def serves(self, target: Target) -> bool:
        return target.kind == "cpu"

    def check(self, variant: Variant) -> None:
        if not variant.source:
            raise InputError(
                f"a row of kernel {variant.kernel.name!r} has no source",
                {"where": variant.where},
                "give the kernel a source, or let the function that lists its rows name one",
            )
        for name, value in variant.row:
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise InputError(
                    f"column {name!r} cannot be a C++ macro",
                    {"kernel": variant.kernel.name, "where": variant.where},
                    "use letters, digits and underscores",
                )
            if isinstance(value, tuple) or not {"\n", "\0"}.isdisjoint(str(value)):
                raise InputError(
                    f"a value of column {name!r} cannot be a C++ macro",
                    {"kernel": variant.kernel.name, "where": variant.where, "value": repr(value)},
                    "use one number, string or boolean a row, on one line",
                )

    def action(self, variant: Variant, configuration: Configuration) -> Action:
        spec, roles = variant.kernel, configuration.roles
        options = dict(spec.options)
        openmp = bool(options.get("openmp")) and "openmp" in configuration.toolchain.features
        encode = roles.encode_text
        return Action(
            backend=self.name,
            stage="library",
            target=str(variant.target),
            mode=configuration.mode,
            params=(
                ("name", spec.name),
                ("row", variant.row),
                ("standard", options.get("standard", "c++17")),
                ("flags", (*configuration.flags, *map(encode, variant.flags))),
                ("include-dirs", tuple(map(encode, variant.include_dirs))),
                ("link-flags", tuple(map(encode, variant.link_flags))),
                ("openmp", openmp),
                ("link-depfile", _tells_inputs(configuration, variant)),
            ),
            inputs=tuple((path, "") for path in variant.source),
            toolchain=configuration.toolchain.digest,
            env=_keyed_env(spec.env, configuration.env, roles),
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
        env = _command_env(action, roles, order)
        scratch = Path(order.scratch)
        objects: list[str] = []
        depfiles: list[Path] = []
        for number, (source, _) in enumerate(action.inputs):
            built, depfile = scratch / f"{number}.o", scratch / f"{number}.d"
            command = [
                *_compile_words(action, params, roles, order), f"-frandom-seed={source}",
                roles.decode(source), "-c", "-o", built.name, "-MD", "-MF", depfile.name,
            ]  # fmt: skip
            if error := _run(command, env, scratch):
                return WorkReport(error=error)
            objects.append(built.name)
            depfiles.append(depfile)
        library = Path(order.out_dir) / f"{params['name']}.so"
        link = [*action.command, *_shared_flags(params), *objects, "-o", str(library)]
        if params["link-depfile"]:
            link.append(f"-Wl,--dependency-file={LINK_DEPFILE}")
        link += [roles.expand(flag) for flag in params["link-flags"]]
        if error := _run(link, env, scratch):
            return WorkReport(error=error)
        trace = trace_of_depfiles(depfiles, _searched(action, params, roles), roles, scratch)
        linked = _linked(scratch) | _named_files(params, roles)
        files = {*trace.files, *map(roles.encode, linked)}
        absent = {*trace.absent, *map(roles.encode, _absent_libraries(params, roles))}
        trace = dataclasses.replace(trace, files=tuple(sorted(files)), absent=tuple(sorted(absent)))
        return WorkReport(trace=trace)


def _tells_inputs(configuration: Configuration, variant: Variant) -> bool:
    """Whether the linker writes a depfile; what another one understands is not known."""
    words = (*configuration.toolchain.command, *variant.flags, *variant.link_flags)
    chosen = any(word.startswith("-fuse-ld") for word in words)
    return "link-depfile" in configuration.toolchain.features and not chosen


def _linked(scratch: Path) -> set[str]:
    """Libraries, start-up files and scripts that the linker read, where it tells."""
    with contextlib.suppress(FileNotFoundError):
        text = (scratch / LINK_DEPFILE).read_text(errors="surrogateescape")
        paths = {os.path.normpath(os.path.join(scratch, word)) for word in read_depfile(text)}
        return {p for p in paths if not p.startswith(f"{scratch}{os.sep}") and os.path.isfile(p)}
    return set()


def _absent_libraries(params: Mapping[str, Any], roles: Roles) -> set[str]:
    """Where `-l` would find a library in a folder named by `-L`, and does not."""
    words = [roles.expand(flag) for flag in params["link-flags"]]
    folders = [word[2:] for word in words if word.startswith("-L")]
    names = [word[2:] for word in words if word.startswith("-l")]
    paths = {f"{d}/lib{n}.{end}" for d in folders for n in names for end in ("so", "a")}
    return {os.path.normpath(p) for p in paths if os.path.isabs(p) and not os.path.lexists(p)}


def _named_files(params: Mapping[str, Any], roles: Roles) -> set[str]:
    """Files that a flag names: response files, version scripts, profiles, plug-ins."""
    found: set[str] = set()
    for flag in (*params["flags"], *params["link-flags"]):
        words = re.split(r"[=,]", roles.expand(flag))
        for candidate in (c for word in words for c in (word, word.lstrip("@"), word[2:])):
            if os.path.isabs(candidate) and os.path.isfile(candidate):
                found.add(candidate)
    return found


def _keyed_env(
    declared: tuple[tuple[str, str], ...], env: Mapping[str, str], roles: Roles
) -> tuple[tuple[str, str], ...]:
    obeyed = {name: roles.encode_text(env[name]) for name in KEYED_ENV if env.get(name)}
    return tuple(sorted((obeyed | dict(declared)).items()))


def _command_env(action: Action, roles: Roles, order: WorkOrder) -> dict[str, str]:
    passed = {name: os.environ[name] for name in PASSED_ENV if name in os.environ}
    places = {"{out_dir}": order.out_dir, "{target}": action.target}
    keyed = {name: roles.expand(value) for name, value in action.env}
    for place, path in places.items():
        keyed = {name: value.replace(place, path) for name, value in keyed.items()}
    return passed | FIXED_ENV | {"TMPDIR": order.scratch} | keyed


def _compile_words(
    action: Action, params: Mapping[str, Any], roles: Roles, order: WorkOrder
) -> list[str]:
    macros = []
    for name, value in params["row"]:
        if value is not None:
            macros.append(f"-D{name}={int(value) if isinstance(value, bool) else value}")
    return [
        *action.command,
        f"-std={params['standard']}",
        "-fPIC",
        *_prefix_maps(order),
        *(["-fopenmp"] if params["openmp"] else []),
        *(f"-I{roles.decode(d)}" for d in params["include-dirs"]),
        *macros,
        *(roles.expand(flag) for flag in params["flags"]),
    ]


def _prefix_maps(order: WorkOrder) -> list[str]:
    """The last map that fits wins: the deepest folder comes last, scratch lies in the project."""
    roots = {root: "." if role == "project" else role for role, root in order.roots.items()}
    roots[order.scratch] = "."
    return [f"-ffile-prefix-map={root}={roots[root]}" for root in sorted(roots, key=len)]


def _searched(action: Action, params: Mapping[str, Any], roles: Roles) -> list[str]:
    """The folders that the action names for headers, in the order in which gcc looks there."""
    named: dict[str, list[str]] = {"-iquote": [], "-I": [], "-isystem": [], "-idirafter": []}
    named["-I"] += [roles.decode(d) for d in params["include-dirs"]]
    words = iter(roles.expand(flag) for flag in params["flags"])
    for word in words:
        for option, folders in named.items():
            if word.startswith(option):
                folders.append(word[len(option) :] or next(words, ""))
    env = {name: roles.expand(value).split(os.pathsep) for name, value in action.env}
    ordered = (
        *named["-iquote"], *named["-I"], *env.get("CPATH", ()), *named["-isystem"],
        *env.get("CPLUS_INCLUDE_PATH", ()), *named["-idirafter"],
    )  # fmt: skip
    return [folder for folder in ordered if os.path.isabs(folder)]


def _shared_flags(params: Mapping[str, Any]) -> list[str]:
    return ["-shared", *(["-fopenmp"] if params["openmp"] else [])]


def _run(command: list[str], env: dict[str, str], cwd: Path) -> str | None:
    """Run a command, its output into this worker's log; the first lines of it on failure."""
    print("+", *command, flush=True)
    ended = subprocess.run(
        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    print(ended.stdout, end="", flush=True)
    if ended.returncode == 0:
        return None
    if ended.returncode < 0:
        return f"{command[0]} was killed by signal {-ended.returncode}\n{ended.stdout}"
    return ended.stdout.strip() or f"{command[0]} exited with status {ended.returncode}"


BACKEND = Cpp()
