"""One variant, compiled in its scratch folder by names that are the same in every checkout."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aot_build.backends.command import QUIET_REDEFINITION, TIMESTAMP, command_env, run
from aot_build.backends.cuda.cubin import Cubin, read_cubin
from aot_build.backends.cuda.places import HERE, Places
from aot_build.backends.flags import (
    LINK_DEPFILE,
    WRAPPERS,
    absent_libraries,
    absent_programs,
    linked,
    named_files,
    searched,
)
from aot_build.backends.macros import macros
from aot_build.backends.tracing.compilers import Compilers
from aot_build.backends.tracing.depfile import extended, trace_of_depfiles
from aot_build.core.roles import Roles
from aot_build.core.target import parse_target
from aot_build.core.trace import Trace
from aot_build.core.work import WorkOrder, WorkReport
from aot_build.digest import bytes_digest

MACROS = "macros.h"
HOST = (
    f"-ffile-prefix-map={HERE}=.", f"-ffile-prefix-map={HERE}/project=.",
    "-fno-canonical-system-headers", QUIET_REDEFINITION,
)  # fmt: skip
"""For the host's compiler, as `cpp` has it: the last map that fits wins."""


class Compile:
    """The commands of an order, and what they read."""

    def __init__(self, order: WorkOrder) -> None:
        self._order = order
        self._params: dict[str, Any] = dict(order.action.params)
        self._roles = Roles(order.roots)
        self._scratch = Path(order.scratch)
        self._target = parse_target(order.action.target)
        self._places = Places(self._roles, order.scratch, order.action.command[0])
        # PWD: what gcc and cicc call the folder that they stand in.
        self._env = command_env(order.action, self._places.roles, order) | {"PWD": HERE}
        self._depfiles: list[Path] = []
        self._compilers = Compilers(order, self._places.real)
        row = self._params.get("row", ())
        text = "".join(f"#define {name} {value}\n\n" for name, value in macros(row))
        (self._scratch / MACROS).write_text(text)

    def cubins(self) -> WorkReport:
        """A cubin for each source, and what its kernels need to be launched."""
        read: dict[str, Cubin] = {}
        for number, (source, _) in enumerate(self._order.action.inputs):
            stem = os.path.splitext(os.path.basename(source))[0]
            name = self._params["name"] if len(self._order.action.inputs) == 1 else stem
            built = Path(self._order.out_dir, f"{name}.cubin")
            if error := self._compile(number, source, ["-cubin", "-o", str(built)]):
                return WorkReport(error=error)
            try:
                read[built.name] = cubin = read_cubin(built.read_bytes())
            except (OSError, ValueError) as error:
                return WorkReport(error=f"nvcc left no cubin in {built.name}: {error}")
            if cubin.relocatable:
                return WorkReport(
                    error=f"{built.name} is relocatable: no driver loads it before it is linked\n"
                    'hint: drop -rdc=true from the flags, or set output = "library"'
                )
        return self._report(self._metadata(read))

    def object(self) -> WorkReport:
        """The object of one source."""
        ((source, _),) = self._order.action.inputs
        stem = os.path.splitext(os.path.basename(source))[0]
        built = Path(self._order.out_dir, f"{stem}.o")
        if error := self._compile(0, source, ["-c", *_host("-fPIC"), "-o", str(built)]):
            return WorkReport(error=error)
        return self._report()

    def library(self) -> WorkReport:
        """A shared library of the objects that the stages before it left."""
        library = Path(self._order.out_dir, f"{self._params['name']}.so")
        objects = [self._places.roles.decode(path) for path, _ in self._order.action.inputs]
        words = [*self._nvcc(0), "-forward-unknown-to-host-compiler", "-shared", *objects]
        if self._params["link-depfile"]:
            words += ["-Xlinker", f"--dependency-file={LINK_DEPFILE}"]
        # nvlink writes the folders that it searches into the code; what else names a path may
        # be meant for the loader.
        for flag in self._params["link-flags"]:
            roles = self._places.roles if flag.startswith("-L") else self._roles
            words += _linker(roles.expand(flag))
        if error := self._run([*words, "-o", str(library)]):
            return WorkReport(error=error)
        return self._report({"arch": self._target.arch})

    # Commands

    def _compile(self, number: int, source: str, what: Sequence[str]) -> str | None:
        """Compile a source; the message where that fails."""
        depfile = self._scratch / f"{number}.d"
        seed = bytes_digest(source.encode())[:16]
        self._depfiles.append(depfile)
        return self._run(
            [
                *self._nvcc(number), f"-std={self._params['standard']}",
                "-forward-unknown-to-host-compiler", *_host(*HOST),
                # Of the path, which it makes real, nvcc makes the name of the unnamed namespace.
                f"-frandom-seed={seed}", "-Xcudafe", f"--orig_src_path_name,{seed}",
                *(f"-I{self._places.roles.decode(d)}" for d in self._params["include-dirs"]),
                TIMESTAMP, "-include", f"{HERE}/{MACROS}",
                *map(self._places.roles.expand, self._params["flags"]),
                *what, "-MD", "-MF", depfile.name, self._places.roles.decode(source),
            ]
        )  # fmt: skip

    def _nvcc(self, number: int) -> Iterator[str]:
        """The compiler, for one architecture; kept files have names without a process id."""
        (self._scratch / f"kept-{number}").mkdir()
        yield from (self._places.nvcc, *self._order.action.command[1:])
        arch = self._target.arch
        yield f"-gencode=arch={arch.replace('sm', 'compute')},code={arch}"
        yield from ("--keep", "--keep-dir", f"kept-{number}")

    def _run(self, command: list[str]) -> str | None:
        return run(command, self._env, self._scratch, self._places.shown)

    # What they read, and what they made

    def _report(self, metadata: dict[str, Any] | None = None) -> WorkReport:
        report = self._compilers.report(self._told)
        return dataclasses.replace(report, metadata=metadata or {})

    def _told(self) -> Trace:
        """What the compilers say that they read."""
        roles, real = self._roles, self._places.real
        flags, link_flags = (self._params.get(name, ()) for name in ("flags", "link-flags"))
        named = searched(self._order.action, self._params, list(_words(flags)), roles)
        folders = [*named, *self._places.headers]
        trace = trace_of_depfiles(self._depfiles, folders, roles, self._scratch, real)
        words = (*flags, *link_flags)
        read = linked(self._scratch, real) | named_files(words, roles)
        missed = absent_libraries(link_flags, roles)
        missed |= absent_programs(words, dict(self._order.action.env), roles)
        return extended(trace, read, missed, roles)

    def _metadata(self, cubins: dict[str, Cubin]) -> dict[str, Any]:
        """As the manifest carries it: sizes of parameters are known, their names are not."""
        symbols = [
            {
                "symbol": symbol,
                "file": file,
                "shared": kernel.shared,
                "args": [{"offset": offset, "size": size} for offset, size in kernel.params],
            }
            for file, cubin in cubins.items()
            for symbol, kernel in cubin.kernels.items()
            if not kernel.local
        ]
        metadata: dict[str, Any] = {
            "arch": self._target.arch,
            "warp_size": 32,
            "toolkit": max((cubin.toolkit for cubin in cubins.values()), default=""),
            "symbols": symbols,
        }
        if len(symbols) == 1:
            metadata |= {name: symbols[0][name] for name in ("symbol", "shared", "args")}
        return metadata


def _host(*words: str) -> Iterator[str]:
    for word in words:
        yield from ("-Xcompiler", word)


def _linker(flag: str) -> list[str]:
    """A flag for the host's linker as nvcc hands it on."""
    if not flag.startswith("-Wl,"):
        return [flag]
    return [word for part in flag.split(",")[1:] for word in ("-Xlinker", part)]


def _words(flags: Sequence[str]) -> Iterator[str]:
    """Flags, those among them that are wrapped for the host's compiler laid open."""
    for flag in flags:
        wrapper, _, inside = flag.partition("=")
        if wrapper in WRAPPERS:
            yield from inside.split(",")
        else:
            yield flag
