"""What the plugin costs beside the compilers: cold, warm, and in look-ups."""

import importlib.util
import statistics
import sys
import time
import timeit
from pathlib import Path
from types import ModuleType
from typing import Any

from costs.place import Place, pip

SETUP = "import setuptools; setuptools.setup()"
VARIANTS = 5000


def _ours(python: str) -> list[str]:
    return [str(Path(python).with_name("aot-build")), "build"]


def measure_cold(place: Place) -> list[str]:
    """Wall time and the share outside the compilers, of a build from nothing."""
    lines = []
    for name, command in (
        ("aot-build build", _ours(place.python)),
        ("pip wheel .", pip(place.python, place.ours, place.folder / "out")),
    ):
        cold = place.cold(command)
        found = cold.summary
        lines.append(
            f"cold  {name:26} {cold.wall:8.1f} s   {cold.outside:6.1%} outside the compilers"
            f" ({found['executed']} variants, {cold.inside:.1f} s inside,"
            f" {found['workers']} slots)"
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
            (pip(place.python, place.ours, place.folder / "out"), place.ours),
            (pip(place.python_without, place.plain, place.folder / "out"), place.plain),
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
