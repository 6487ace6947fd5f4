"""Find the tools that kernels are compiled with; say what each missing one costs, and the cure."""

import base64
import importlib.metadata
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aot_build.backends.tracing.library import build, c_compiler
from aot_build.errors import EnvironmentProblem
from aot_build.files import StatIndex
from aot_build.toolchains.cxx import find_cxx
from aot_build.toolchains.distributions import Distributions
from aot_build.toolchains.nvcc import find_nvcc
from aot_build.toolchains.rocm import (
    INSTALL_BITCODE,
    INSTALL_LINKER,
    REQUIREMENT,
    NoLinker,
    find_bitcode,
    find_rocm,
)


@dataclass(frozen=True, slots=True)
class Program:
    """A file behind a tool, with as much of the digest of its content as tells it from others."""

    name: str
    path: str
    digest: str


SHOWN = (
    "driver", "behind", "cc1plus", "as", "ld", "nvcc", "cicc", "cudafe++", "fatbinary", "nvlink",
    "ptxas", "ptxas-blackwell", "libtriton.so", "libtriton_amd_codegen.so",
)  # fmt: skip
DIGITS = 12
TRITON = r"/libtriton\w*\.so|/bin/ptxas[\w-]*|/lib/[\w.]+\.bc"
"""Of its files, what turns a kernel's syntax into machine code."""
TRITON_ENV = {
    "TRITON_PTXAS_PATH": "ptxas", "TRITON_PTXAS_BLACKWELL_PATH": "ptxas-blackwell",
    "TRITON_LIBDEVICE_PATH": "libdevice.10.bc",
    "TRITON_AMD_CODEGEN_PATH": "libtriton_amd_codegen.so",
}  # fmt: skip
"""Variables that name another file in the place of one of them."""


def _programs(parts: Iterable[tuple[str, str, str]]) -> tuple[Program, ...]:
    return tuple(Program(name, path, digest[:DIGITS]) for name, path, digest in parts)


@dataclass(frozen=True, slots=True)
class Finding:
    """One tool. `where` is empty where it is missing."""

    tool: str
    where: str
    version: str = ""
    costs: str = ""
    """What cannot be done without it."""
    install: str = ""
    programs: tuple[Program, ...] = ()
    """What stands behind it: a kernel is rebuilt where the content of one of them changes."""

    def lines(self) -> list[str]:
        """For people: of the programs those that compile, assemble and link."""
        if self.where:
            shown = [p for p in self.programs if p.name in SHOWN or p.name.startswith("libdevice")]
            wide = max((len(p.name) for p in shown), default=0)
            return [
                f"ok       {self.tool} {self.version} ({self.where})",
                *(f"         {p.name:{wide}}  {p.digest}  {p.path}" for p in shown),
            ]
        return [f"missing  {self.tool}: {self.costs}", f"         install: {self.install}"]


PROGRAMS = {
    "ninja": ("C++ extensions of torch compile one file at a time", "pip install ninja"),
}
PACKAGES = {
    "torch": ("no `flydsl` kernels, no tensors for our own kernels", "pip install torch"),
    "triton": ("no `triton` kernels", "pip install triton"),
    "flydsl": ("no `flydsl` kernels", f"pip install '{REQUIREMENT}'"),
}


def examine(env: Mapping[str, str]) -> list[Finding]:
    """Every tool, found or not, in the order in which builds need them."""
    programs = [_program(name, env, *told) for name, told in PROGRAMS.items()]
    packages = [_package(name, env, *told) for name, told in PACKAGES.items()]
    cxx = _cxx(env)
    return [cxx, _tracer(env, cxx.where), _nvcc(env), *programs, *packages, *_rocm(env)]


def _cxx(env: Mapping[str, str]) -> Finding:
    try:
        found = find_cxx(env, StatIndex().digest)
    except EnvironmentProblem:
        return Finding("g++", "", "", "no `cpp` kernels", "apt-get install g++ (or set CXX)")
    openmp = (
        "with OpenMP" if "openmp" in found.features else "without OpenMP: kernels run threadless"
    )
    version = f"{found.version} {openmp}"
    return Finding(found.name, found.command[0], version, programs=_programs(found.parts))


def _tracer(env: Mapping[str, str], cxx: str) -> Finding:
    compiler = (c_compiler(env) or (cxx,))[0]
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder), env, (cxx,) if cxx else ())
    if library:
        return Finding("tracer", compiler, "of reads, compiled and tried")
    costs = f"it is not seen what the programs read that kernels start ({library.reason})"
    return Finding("tracer", "", "", costs, "apt-get install gcc (or set CC)")


def _nvcc(env: Mapping[str, str]) -> Finding:
    digest = StatIndex().digest
    try:
        found = find_nvcc(env, digest, find_cxx(env, digest))
    except EnvironmentProblem as problem:
        cure = "the CUDA toolkit, or: pip install nvidia-cuda-nvcc nvidia-cuda-cccl"
        return Finding("nvcc", "", "", f"no `cuda` kernels ({problem.message})", cure)
    return Finding("nvcc", found.command[0], found.version, programs=_programs(found.parts))


def _program(name: str, env: Mapping[str, str], costs: str, install: str) -> Finding:
    where = shutil.which(name, path=env.get("PATH")) or ""
    return Finding(name, where, _version(where) if where else "", costs, install)


def _version(program: str) -> str:
    try:
        told = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run: {error}"
    lines = [line.strip() for line in told.stdout.splitlines() if any(map(str.isdigit, line))]
    named = [line for line in lines if "release" in line or "version" in line.lower()]
    return (named or lines or [""])[0]


def _rocm(env: Mapping[str, str]) -> list[Finding]:
    """What FlyDSL needs besides itself."""
    costs = "no `flydsl` kernels: LLVM 19 or newer links them"
    try:
        found = find_rocm(env)
        linker = Finding("ld.lld", found.linker, found.version)
    except NoLinker as problem:
        if old := problem.fields.get("too old"):
            costs += f"; too old: {old}"
        linker = Finding("ld.lld", "", "", costs, INSTALL_LINKER)
    bitcode, _ = find_bitcode(env)
    costs = "no `flydsl` kernels that call functions such as erf"
    return [linker, Finding("bitcode", bitcode, "for AMD GPUs", costs, INSTALL_BITCODE)]


def _package(name: str, env: Mapping[str, str], costs: str, install: str) -> Finding:
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "", "", costs, install)
    programs = _triton(env) if name == "triton" else ()
    return Finding(name, str(found.locate_file("")), found.version, costs, install, programs)


def _triton(env: Mapping[str, str]) -> tuple[Program, ...]:
    """What Triton really runs: what its wheel brings, or what variables name instead."""
    digest = StatIndex().digest
    brought = _hashes(Distributions(digest).contents("triton", TRITON))
    found = {program.name: program for program in brought}
    for variable, name in TRITON_ENV.items():
        place = shutil.which(env.get(variable, ""), mode=os.R_OK, path=env.get("PATH"))
        # It goes on with its own where the one that is named does not run.
        if place and (taken := digest(place)):
            found[name] = Program(name, place, taken[:DIGITS])
    return tuple(found.values())


def _hashes(rows: Iterable[tuple[str, str, str]]) -> tuple[Program, ...]:
    """RECORD's hashes as people know them from `sha256sum`."""
    return _programs((name, path, _as_hexadecimal(digest)) for name, path, digest in rows)


def _as_hexadecimal(digest: str) -> str:
    kind, _, value = digest.partition("=")
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex() if value else kind
