"""What the plugin costs beside the compilers, on this repository's own kernels.

    python bench/drivers.py [--runs 9]

Copies the checkout to a temporary folder, installs it there (the plugin alone, beside the packages
of this interpreter), and prints one table:

- cold: `aot-build build` and `pip wheel .` with an empty cache. The share outside the compilers is
  1 - (seconds in compilers) / (slots x wall): planning, imports, forks, copies, idle slots and, for
  pip, all that pip and setuptools do. Seconds in compilers are measured in the workers: each
  command that a worker runs, and each `triton.compile`.
- warm: the same with nothing to do. pip and setuptools are timed by turns with an equal project
  whose pyproject.toml declares no kernels, in an environment that has no aot_build.
- look-ups of `get`, `select` and `table` in the result, and the first `get` of a fresh process in
  a package of 5,000 variants, less an interpreter that starts and ends.

Needs setuptools, pip and the compilers of the targets that are declared.
"""

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import timeit
import venv
from pathlib import Path
from types import ModuleType
from typing import Any

CHECKOUT = Path(__file__).parents[1]
NOT_SOURCES = shutil.ignore_patterns(
    ".*", "build", "cache", "dist", "_aot", "__pycache__", "*.egg-info"
)
SETUP = "import setuptools; setuptools.setup()"
VARIANTS = 5000

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

class Watch:
    """Wraps triton.compile as its module is loaded: JIT functions and workers import it later."""

    def find_spec(self, name, path, target=None):
        if name != "triton.compiler.compiler":
            return None
        sys.meta_path.remove(self)
        spec = __import__("importlib.util").util.find_spec(name)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            module.compile = timed(module.compile)
        spec.loader.exec_module = exec_module
        return spec

inside = False
if any("forkserver" in word for word in sys.orig_argv):
    subprocess.run = timed(subprocess.run)
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
        self._call(_pip(self.python, *wheel), wheel[0], {"AOT_BUILD_TARGETS": "none"})
        (built,) = wheel[1].glob("*.whl")
        words = ("install", "--no-deps", "--no-index", "--force-reinstall", str(built))
        self._call([self.python, "-m", "pip", *words], folder)
        self.clear()

    def _environment(self, name: str) -> str:
        """An interpreter that finds the packages of this one, and those of its own before them."""
        venv.create(self.folder / name, with_pip=False)
        (packages,) = (self.folder / name).glob("lib/python*/site-packages")
        (packages / "parent.pth").write_text(sysconfig.get_path("purelib") + "\n")
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


def _pip(python: str, project: Path, out: Path) -> list[str]:
    words = ("wheel", "--no-build-isolation", "--no-deps", "-w", str(out), str(project))
    return [python, "-m", "pip", *words]


def _ours(python: str) -> list[str]:
    return [str(Path(python).with_name("aot-build")), "build"]


def measure_cold(place: Place) -> list[str]:
    """Wall time and the share outside the compilers, of a build from nothing."""
    watch = place.folder / "watch"
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(WATCH)
    lines = []
    for name, command in (
        ("aot-build build", _ours(place.python)),
        ("pip wheel .", _pip(place.python, place.ours, place.folder / "out")),
    ):
        place.clear()
        times, summary = place.folder / "seconds", place.folder / "summary.json"
        times.write_bytes(b"")
        wall = place.timed(
            command,
            place.ours,
            PYTHONPATH=str(watch),
            BENCH_SECONDS=str(times),
            AOT_BUILD_SUMMARY=str(summary),
        )
        found = json.loads(summary.read_text())
        inside = sum(map(float, times.read_text().split()))
        outside = 1 - inside / (found["workers"] * wall)
        lines.append(
            f"cold  {name:26} {wall:8.1f} s   {outside:6.1%} outside the compilers"
            f" ({found['executed']} variants, {inside:.1f} s inside, {found['workers']} slots)"
        )
    return lines


def measure_warm(place: Place, runs: int) -> list[str]:
    """Whole processes with nothing to do; pip and setuptools beside a project without kernels."""
    pairs: dict[str, tuple[tuple[list[str], Path], tuple[list[str], Path]]] = {
        "aot-build build": (
            (_ours(place.python), place.ours),
            ([place.python, "-c", "pass"], place.ours),
        ),
        "setup.py build": (
            ([place.python, "-c", SETUP, "build"], place.ours),
            ([place.python_without, "-c", SETUP, "build"], place.plain),
        ),
        "pip wheel .": (
            (_pip(place.python, place.ours, place.folder / "out"), place.ours),
            (_pip(place.python_without, place.plain, place.folder / "out"), place.plain),
        ),
    }
    lines = []
    for name, (ours, theirs) in pairs.items():
        for command, folder in (ours, theirs):
            place.timed(command, folder)
        time.sleep(2.5)  # What is younger than two seconds is read again.
        place.timed(*ours)
        times = [(place.timed(*ours), place.timed(*theirs)) for _ in range(runs)]
        built, without = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
        peer = "the interpreter" if "pass" in theirs[0] else "no kernels"
        lines.append(
            f"warm  {name:26} {built:8.1f} ms  {built - without:+6.1f} ms"
            f" beyond {peer} ({without:.1f} ms)"
        )
    return lines


def measure_lookups(place: Place, runs: int) -> list[str]:
    """Nanoseconds of one look-up among the kernels that were built."""
    (folder,) = place.ours.glob("build/aot/*/_aot")
    aot = _load(folder)
    kernel = next(k for k, v in aot.manifest()["kernels"].items() if v["backend"] == "cpp")
    variants = aot.manifest()["kernels"][kernel]["variants"]
    row = next(v["row"] for v in variants if v["target"] == "cpu")
    table = aot.table(kernel, "cpu")
    key = tuple(row.get(column, aot.ABSENT) for column in table.columns)
    calls = {
        "get": lambda: aot.get(kernel, target="cpu", **row),
        "select": lambda: aot.select(kernel, "cpu", **row),
    }
    found = {name: _per_call(timeit.Timer(call), runs) for name, call in calls.items()}
    # The item alone: a call around it would cost more than the look-up.
    found["table[...]"] = _per_call(
        timeit.Timer("table[key]", globals={"table": table, "key": key}), runs
    )
    return [f"look  {name:26} {seconds * 1e9:8.0f} ns a call" for name, seconds in found.items()]


def _per_call(timer: timeit.Timer, runs: int) -> float:
    number, _ = timer.autorange()
    # The least: what is above it was something else's.
    return min(timer.repeat(runs, number)) / number


def _load(folder: Path) -> ModuleType:
    """A result folder as a module: it need not be part of a package."""
    spec = importlib.util.spec_from_file_location("measured_aot", folder / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Empty:
    """A store whose blobs are all empty files: none of them is read."""

    def fetch(self, digest: str, target: Path) -> bool:
        target.write_bytes(b"")
        return True


def measure_opening(place: Place, runs: int) -> list[str]:
    """The first `get` of a process, among 5,000 variants with and without launch metadata."""
    sys.path.insert(0, str(CHECKOUT))
    from aot_build.core.artifact import Artifact
    from aot_build.core.kernel import KernelSpec, Variant
    from aot_build.core.manifest import Entry
    from aot_build.core.target import Target
    from aot_build.core.toolchain import Toolchain
    from aot_build.materialize import ResultFolder

    lines = []
    for backend, kind, metadata in (("cpp", "cpu", {}), ("triton", "cuda:sm_90a", _metadata())):
        target = Target(*kind.split(":"))
        spec = KernelSpec("scale", backend, ("scale",), (target,))
        entries = [
            Entry(
                Variant(spec, (("BLOCK", n), ("T", "float")), target),
                Toolchain(backend, "1", "0" * 32),
                (Artifact("scale.bin", f"{n:064x}", 0),),
                metadata,
            )
            for n in range(VARIANTS)
        ]
        package = f"many_{backend}"
        folder = ResultFolder(place.folder / "many", package)
        folder.fill(entries, Empty(), "release", "bench")  # type: ignore[arg-type]
        wanted = (
            f"import {package}._aot as a; a.get('scale', target={kind!r}, BLOCK=4321, T='float')"
        )
        opened, started = [], []
        for _ in range(2 * runs):
            opened.append(place.timed([place.python, "-c", wanted], folder.path.parents[1]))
            started.append(place.timed([place.python, "-c", "pass"], folder.path.parents[1]))
        first, nothing = statistics.median(opened), statistics.median(started)
        size = (folder.path / "manifest.json").stat().st_size
        lines.append(
            f"open  {f'{VARIANTS} {backend} variants':26} {(first - nothing) * 1e3:8.1f} ms"
            f"  first get, beyond the interpreter ({nothing * 1e3:.1f} ms; {size / 1e6:.1f} MB)"
        )
    return lines


def _metadata() -> dict[str, Any]:
    """About as much as a Triton variant has."""
    arguments = [{"name": f"argument_{n}", "type": "*bf16"} for n in range(12)]
    options = {f"option_{n}": [n, "value", None, True] for n in range(40)}
    launch = {"symbol": "scale", "arch": "sm_90a", "shared": 49152, "num_warps": 4, "warp_size": 32}
    return {**launch, "args": arguments, "triton": {"metadata": options, "source": "0" * 64}}


def main() -> None:
    """Measure everything, then print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9, help="repetitions of what is not cold")
    asked = parser.parse_args()
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="drivers-") as folder:
        place = Place(Path(folder))
        lines = [
            *measure_cold(place),
            *measure_warm(place, asked.runs),
            *measure_lookups(place, asked.runs),
            *measure_opening(place, asked.runs),
        ]
    version = sys.version.split()[0]
    print(f"Python {version}, {os.cpu_count()} cores, load {busy:.1f} at the start; medians")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
