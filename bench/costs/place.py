"""A copy of the checkout to build in, and what watches compilers in its workers."""

import json
import os
import shutil
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
NOT_SOURCES = shutil.ignore_patterns(
    ".*", "build", "cache", "dist", "_aot", "__pycache__", "*.egg-info"
)
WATCH = '''
import os, subprocess, sys, time

def note(seconds):
    with open(os.environ["BENCH_SECONDS"], "ab", buffering=0) as times:
        times.write(b"%f\\n" % seconds)

def timed(function):
    def call(*args, **kwargs):
        global inside
        began, outermost, inside = time.perf_counter(), not inside, True
        try:
            return function(*args, **kwargs)
        finally:
            if outermost:
                inside = False
                note(time.perf_counter() - began)
    return call

PLACES = {
    # triton.compile, wherever it is imported from, and a FlyDSL function from its call to its
    # return: tracing and passes are one compiler.
    "triton.compiler.compiler": lambda module: (module, "compile"),
    "flydsl.compiler.jit_function": lambda module: (module.JitFunction, "__call__"),
}

class Watch:
    """Wraps compilers as their modules are loaded: kernels and workers import them later."""

    def find_spec(self, name, path, target=None):
        if name not in PLACES:
            return None
        place = PLACES.pop(name)
        spec = __import__("importlib.util").util.find_spec(name)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            owner, attribute = place(module)
            setattr(owner, attribute, timed(getattr(owner, attribute)))
        spec.loader.exec_module = exec_module
        return spec

class Timed(subprocess.Popen):
    """From the start of a command to the end of the block that waits for it."""

    def __init__(self, *args, **kwargs):
        self.began = time.perf_counter()
        super().__init__(*args, **kwargs)

    def __exit__(self, *error):
        try:
            return super().__exit__(*error)
        finally:
            if not inside:
                note(time.perf_counter() - self.began)

inside = False
if any("forkserver" in word for word in sys.orig_argv):
    subprocess.Popen = Timed
    sys.meta_path.insert(0, Watch())
'''
"""The `sitecustomize` of cold builds: $BENCH_SECONDS gets what workers spend in compilers."""


class Place:
    """A copy of the checkout, an equal project without kernels, and an environment for each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ours, self.plain = folder / "ours", folder / "plain"
        for copied in (self.ours, self.plain):
            shutil.copytree(CHECKOUT, copied, ignore=NOT_SOURCES)
        (self.plain / "pyproject.toml").write_text(_without_kernels())
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("AOT_", "PYTHON"))}
        self.env["AOT_BUILD_CACHE_DIR"] = str(folder / "cache")
        self.python = self._environment("ours-venv")
        self.python_without = self._environment("plain-venv")
        wheel = self.ours, self.folder / "plugin"
        self._call(pip(self.python, *wheel), wheel[0], {"AOT_BUILD_TARGETS": "none"})
        (built,) = wheel[1].glob("*.whl")
        words = ("install", "--no-deps", "--no-index", "--force-reinstall", str(built))
        self._call([self.python, "-m", "pip", *words], folder)
        (folder / "watch").mkdir()
        (folder / "watch" / "sitecustomize.py").write_text(WATCH)
        self.clear()

    def _environment(self, name: str) -> str:
        """An interpreter that finds the packages of this one, and those of its own before them."""
        venv.create(self.folder / name, with_pip=False)
        (packages,) = (self.folder / name).glob("lib/python*/site-packages")
        parents = [path for path in sys.path if path.endswith("-packages")]
        (packages / "parent.pth").write_text("\n".join(parents) + "\n")
        return str(self.folder / name / "bin" / "python")

    def clear(self) -> None:
        """Forget every build."""
        for name in ("cache", "ours/build", "plain/build", "out"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _call(self, command: list[str], folder: Path, more: dict[str, str] | None = None) -> None:
        env = {**self.env, **(more or {})}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed\n{done.stdout}\n{done.stderr}")

    def timed(self, command: list[str], folder: Path, **more: str) -> float:
        """Seconds of wall time of a whole process."""
        began = time.perf_counter()
        self._call(command, folder, more)
        return time.perf_counter() - began

    def cold(self, command: list[str]) -> "Cold":
        """Build from nothing in our own project, watched."""
        self.clear()
        times, summary = self.folder / "seconds", self.folder / "summary.json"
        times.write_bytes(b"")
        wall = self.timed(
            command,
            self.ours,
            PYTHONPATH=str(self.folder / "watch"),
            BENCH_SECONDS=str(times),
            AOT_BUILD_SUMMARY=str(summary),
        )
        inside = sum(map(float, times.read_text().split()))
        return Cold(wall, inside, json.loads(summary.read_text()))


@dataclass(frozen=True)
class Cold:
    """A build from nothing: seconds of wall time, and within compilers; its summary."""

    wall: float
    inside: float
    summary: dict[str, Any]

    @property
    def outside(self) -> float:
        """The share of its slots' time that was not spent in compilers."""
        return 1 - self.inside / (self.summary["workers"] * self.wall)


def _without_kernels() -> str:
    """pyproject.toml with setuptools' own backend and no table of ours."""
    kept, inside = [], False
    for line in (CHECKOUT / "pyproject.toml").read_text().splitlines():
        if line.startswith("["):
            inside = line.strip("[]").startswith("tool.aot-build")
        if not inside and not line.startswith("backend-path"):
            kept.append(
                "build-backend = 'setuptools.build_meta'" if "build-backend" in line else line
            )
    return "\n".join(kept) + "\n"


def pip(python: str, project: Path, out: Path) -> list[str]:
    words = ("wheel", "--no-build-isolation", "--no-deps", "-w", str(out), str(project))
    return [python, "-m", "pip", *words]
