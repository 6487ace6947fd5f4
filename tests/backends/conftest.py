"""Variants made into actions and performed for real, in a fresh process as a worker does."""

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aot_build.backends.cpp import BACKEND as CPP
from aot_build.backends.cuda import BACKEND as CUDA
from aot_build.backends.python import BACKEND as PYTHON
from aot_build.core.action import Action
from aot_build.core.configuration import Configuration
from aot_build.core.kernel import KernelSpec, Variant
from aot_build.core.roles import Roles
from aot_build.core.target import parse_target
from aot_build.core.toolchain import Toolchain
from aot_build.core.work import WorkOrder, WorkReport
from aot_build.errors import EnvironmentProblem
from aot_build.files import StatIndex
from aot_build.pipelines.modes import mode_flags
from aot_build.toolchains.cxx import find_cxx
from aot_build.toolchains.nvcc import find_nvcc
from aot_build.toolchains.python import find_python

ROOT = Path(__file__).parents[2]
BACKENDS: dict[str, Any] = {"cpp": CPP, "cuda": CUDA, "python": PYTHON}
WORKER = (
    "import importlib, sys; from aot_build.backends.work import perform; "
    "sys.dont_write_bytecode = True; sys.pycache_prefix = '/dev/null/pycache'; "
    "sys.path_importer_cache.clear(); importlib.invalidate_caches(); "
    "answer = perform(sys.stdin.buffer.read()); sys.stdout.flush(); "
    "open(sys.argv[1], 'wb').write(answer)"
)


@pytest.fixture(scope="session")
def cxx() -> Toolchain:
    """The C++ compiler of this machine, found and digested once."""
    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        pytest.skip("needs a C++ compiler")
    return find_cxx(os.environ, StatIndex().digest)


@pytest.fixture(scope="session")
def nvcc(cxx: Toolchain) -> Toolchain:
    """The CUDA compiler of this machine, found and digested once."""
    try:
        return find_nvcc(os.environ, StatIndex().digest, cxx)
    except EnvironmentProblem as problem:
        pytest.skip(problem.message)


class Bench:
    """One project folder in which variants are performed."""

    def __init__(self, folder: Path, toolchains: Mapping[str, Toolchain]) -> None:
        self.folder = folder
        self.toolchains = toolchains
        self.project = folder / "project"
        self.project.mkdir(parents=True)
        self.out = folder / "out"
        self.roots = {"project": str(self.project)}

    def write(self, name: str, content: str) -> None:
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def action(self, backend: str, *source: str, **asked: Any) -> Action:
        """As the planner makes it, without digests of sources; `asked` as for `variant`."""
        action: Action = BACKENDS[backend].action(*self.variant(backend, *source, **asked))
        return action

    def variant(
        self, backend: str, *source: str, row: Mapping[str, Any] | None = None,
        target: str = "cpu", mode: str = "release", env: Mapping[str, str] | None = None,
        spec_env: Mapping[str, str] | None = None, options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> tuple[Variant, Configuration]:  # fmt: skip
        """What the planner hands to a backend."""
        where = parse_target(target)
        spec = KernelSpec(
            "kern", backend, source, (where,), env=tuple((spec_env or {}).items()),
            options=tuple((options or {}).items()),
        )  # fmt: skip
        named = source if backend == "python" else tuple(f"{{project}}/{s}" for s in source)
        variant = Variant(spec, tuple(sorted((row or {}).items())), where, source=named, **more)
        made = BACKENDS[backend]
        made.check(variant)
        return variant, Configuration(
            self.toolchains[made.toolchain], mode, Roles(self.roots), mode_flags(mode, where),
            env or {},
        )  # fmt: skip

    def perform(self, action: Action) -> WorkReport:
        """In a process of its own; raises AssertionError where that fails."""
        scratch = self.folder / "scratch"
        for path in (self.out, scratch):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
        order = WorkOrder(action, self.roots, str(self.out), str(scratch), (str(self.project),))
        command = [sys.executable, "-c", WORKER, str(self.folder / "answer")]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)}
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # The start costs a second without byte code.
        done = subprocess.run(
            command,
            cwd=scratch,
            env=env,
            input=msgspec.msgpack.encode(order),
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()
        return msgspec.msgpack.decode((self.folder / "answer").read_bytes(), type=WorkReport)

    def error(self, action: Action) -> str:
        report = self.perform(action)
        assert report.error is not None
        return report.error

    def built(self, action: Action) -> WorkReport:
        report = self.perform(action)
        assert report.error is None, report.error
        return report

    def python(self, body: str, row: Mapping[str, Any] | None = None, **more: Any) -> WorkReport:
        """Perform `body` as the function `demo.kern:make(out_dir, target, **row)`."""
        lines = "\n    ".join(body.splitlines())
        self.write("demo/__init__.py", "")
        self.write("demo/kern.py", f"import os\ndef make(out_dir, target, **row):\n    {lines}\n")
        return self.built(self.action("python", "demo.kern:make", row=row, **more))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """For Python actions."""
    return Bench(tmp_path / "bench", {"python": find_python()})


@pytest.fixture
def compiling(tmp_path: Path, cxx: Toolchain) -> Bench:
    """For C++ actions."""
    return Bench(tmp_path / "bench", {"cxx": cxx})


@pytest.fixture
def cuda(tmp_path: Path, nvcc: Toolchain) -> Bench:
    """For CUDA actions."""
    return Bench(tmp_path / "bench", {"nvcc": nvcc})


@pytest.fixture
def cuda_elsewhere(tmp_path: Path, nvcc: Toolchain) -> Bench:
    """A second checkout, in a folder of another length and with an odd name."""
    return Bench(tmp_path / "some, other" / "pla ce", {"nvcc": nvcc})


@pytest.fixture
def compiling_elsewhere(tmp_path: Path, cxx: Toolchain) -> Bench:
    """A second checkout, in a folder of another length."""
    return Bench(tmp_path / "some" / "other" / "place", {"cxx": dataclasses.replace(cxx)})
