"""What it costs to be sure: traces that are verified, and the tracer that makes them.

    python bench/truth_cost.py [--runs 9] [--part probing|torch|tracer] [--quick]

Three measurements, one table:

- probing: 10,000 `python` variants of 20 kernels whose traces name 2,000 files, 100 a kernel and
  all 2,000 in each, against the same null build with empty traces; whole processes by turns, as
  they are and with the snapshot removed. The stores are filled through the project's own store.
- torch: one `cpp` variant that includes torch/extension.h, compiled once; then the probe of it in
  a workspace that was just opened, and whole processes. Needs torch and g++.
- tracer: a cold build of this repository's own kernels, by turns with AOT_BUILD_TRACER=0. Needs
  the compilers of its targets.

`--quick` is for trying: fewer variants, runs and targets; its figures mean little.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))

from null_build import make_project

from aot_build import snapshot
from aot_build.core.artifact import Artifact
from aot_build.core.result import ActionResult
from aot_build.core.trace import Trace
from aot_build.graph.keys import action_key
from aot_build.opening import load_settings, open_workspace
from aot_build.plan import Planned, make_plan
from aot_build.request import Request
from aot_build.workspace import Workspace

NOT_SOURCES = shutil.ignore_patterns(
    ".*", "build", "cache", "dist", "_aot", "__pycache__", "*.egg-info"
)
KERNELS, FILES = 20, 2_000
COOL_S = 2.5
"""What is younger than two seconds is read again."""
Traces = Callable[[int], Trace]
"""The trace of a variant by the number of its kernel."""
TORCH = """\
[tool.aot-build]
package = "demo"
targets = ["cpu"]
mode = "debug"
cache-dir = "cache"
[[tool.aot-build.kernels]]
name = "answer"
backend = "cpp"
source = "demo/answer.cpp"
include-dirs = %s
"""
Row = tuple[str, str]
Times = tuple[float, float]
"""Seconds of wall time and of CPU: others use the machine as well."""


def timed(project: Path, *words: str, **env: str) -> float:
    """Seconds of `aot-build` as a whole process. Raises SystemExit where it fails."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", "from aot_build.__main__ import main; main()", *words]
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=project, env={**kept, "PYTHONPATH": str(CHECKOUT), **env}, capture_output=True
    )
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    return took


def opened(project: Path) -> Workspace:
    """A workspace of its own; close it."""
    settings, registry = load_settings(Request(str(project)))
    assert settings is not None
    return open_workspace(settings, registry, lambda event: None)


def forget_snapshot(project: Path) -> None:
    """The next build probes."""
    snapshot.forget(str(project))


def by_turns(projects: dict[str, Path], runs: int) -> dict[str, tuple[float, float]]:
    """Medians of the null build of each, in milliseconds: as it is, and without its snapshot."""
    fast: dict[str, list[float]] = {name: [] for name in projects}
    slow: dict[str, list[float]] = {name: [] for name in projects}
    for _ in range(runs):
        for name, project in projects.items():
            fast[name].append(timed(project, "build"))
            forget_snapshot(project)
            slow[name].append(timed(project, "build"))
    middle = statistics.median
    return {n: (middle(fast[n]) * 1e3, middle(slow[n]) * 1e3) for n in projects}


# Probing


def make_filled(folder: Path, variants: int, traces: Traces) -> None:
    """A project of `variants` results, each with its trace; nothing of it was ever run."""
    make_project(folder, variants, KERNELS)
    (folder / "read").mkdir()
    for number in range(FILES):
        (folder / "read" / f"{number:04}.h").write_text(f"#define NUMBER_{number} {number}\n" * 20)
    workspace = opened(folder)
    try:
        left = folder / "left"
        left.mkdir()
        for planned in make_plan(workspace).planned:
            kernel = int(planned.variant.kernel.name.rpartition("_")[2])
            publish(workspace, planned, traces(kernel), left)
        workspace.store.flush()
    finally:
        workspace.close()


def publish(workspace: Workspace, planned: Planned, trace: Trace, left: Path) -> None:
    """Keep a result for a variant, as if it had been built and been seen to read that."""
    decision = planned.decision
    content = decision.base_key.encode()
    (left / "kernel.bin").write_bytes(content)
    artifact = Artifact("kernel.bin", hashlib.sha256(content).hexdigest(), len(content))
    key = action_key(decision.action, workspace.closures.closure(trace))
    workspace.store.publish(decision.base_key, trace, key, ActionResult((artifact,)), left)


def measure_probing(place: Path, runs: int, quick: bool) -> list[Row]:
    """Null builds with and without traces."""
    variants = 1_000 if quick else 10_000
    names = [f"{{project}}/read/{number:04}.h" for number in range(FILES)]
    share = FILES // KERNELS
    each = [Trace(files=tuple(names[n * share : (n + 1) * share])) for n in range(KERNELS)]
    whole, nothing = Trace(files=tuple(names)), Trace()
    kinds: dict[str, Traces] = {
        "no traces": lambda kernel: nothing,
        f"{share} files a kernel": lambda kernel: each[kernel],
        f"{FILES:,} files in each": lambda kernel: whole,
    }
    projects = {name: place / str(n) for n, name in enumerate(kinds)}
    for name, traces in kinds.items():
        make_filled(projects[name], variants, traces)
    time.sleep(COOL_S)
    for project in projects.values():
        timed(project, "build")
    time.sleep(COOL_S)
    for project in projects.values():
        forget_snapshot(project)
        timed(project, "build")
    found = by_turns(projects, runs)
    fast, slow = found["no traces"]
    return [
        (
            f"nothing to do, {variants:,} variants, {name}",
            f"{f:.1f} ms ({f / fast:.2f}); without snapshot {s:,.0f} ms ({s / slow:.2f})",
        )
        for name, (f, s) in found.items()
    ]


# torch/extension.h


def measure_torch(place: Path, runs: int, quick: bool) -> list[Row]:
    """One variant with a large trace."""
    from torch.utils.cpp_extension import include_paths

    python = Path(sys.base_prefix, "include", f"python3.{sys.version_info.minor}")
    (place / "demo").mkdir(parents=True)
    (place / "cache").mkdir()
    (place / "demo" / "__init__.py").touch()
    (place / "demo" / "answer.cpp").write_text(
        '#include <torch/extension.h>\nextern "C" int answer() { return 42; }\n'
    )
    (place / "pyproject.toml").write_text(TORCH % json.dumps([*include_paths(), str(python)]))
    cold = timed(place, "build")
    time.sleep(COOL_S)
    forget_snapshot(place)
    timed(place, "build")
    times, trace = probes(place, runs)
    wall, cpu = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
    ((fast, slow),) = by_turns({"torch": place}, runs).values()
    header = "`torch/extension.h`"
    return [
        (f"{header}: what its trace names", told(trace)),
        (f"{header}: the probe alone", f"{wall:.1f} ms, of CPU {cpu:.1f} ms"),
        (f"{header}: nothing to do", f"{fast:.1f} ms; without snapshot {slow:.0f} ms"),
        (f"{header}: the compile", f"{cold:.1f} s"),
    ]


def probes(project: Path, runs: int) -> tuple[list[Times], Trace]:
    """Probes with nothing known but the index of digests; and what they verify."""
    times: list[Times] = []
    for _ in range(1 + runs):
        workspace = opened(project)
        try:
            workspace.toolchain("cxx")
            planned = probed(workspace, times)
        finally:
            workspace.close()
    assert planned.decision.trace is not None
    return times[1:], planned.decision.trace


def probed(workspace: Workspace, times: list[Times]) -> Planned:
    """Plan the only variant; what its probe took is noted."""
    probe = workspace.rebuilder.probe

    def watched(*words: object) -> object:
        began, worked = time.perf_counter(), time.process_time()
        try:
            return probe(*words)  # type: ignore[arg-type]
        finally:
            times.append((time.perf_counter() - began, time.process_time() - worked))

    workspace.rebuilder.probe = watched  # type: ignore[assignment, method-assign]
    (planned,) = make_plan(workspace).planned
    return planned


def told(trace: Trace) -> str:
    """How many of each kind; absences lie in folders, each with its names."""
    counts = {f.name: getattr(trace, f.name) for f in dataclasses.fields(trace)}
    return ", ".join(f"{_size(found):,} {name}" for name, found in counts.items() if found)


def _size(found: Sequence[object]) -> int:
    return sum(len(each[1]) if isinstance(each, tuple | list) else 1 for each in found)


# The tracer


def measure_tracer(place: Path, runs: int, quick: bool) -> list[Row]:
    """Cold builds of this checkout's kernels, with the tracer and without.

    Only the wall time, planning and all, holds the making of the tracer, which a cache sees once.
    """
    shutil.copytree(CHECKOUT, place, ignore=NOT_SOURCES)
    found: dict[str, list[dict[str, float]]] = {"": [], "0": []}
    env = {"AOT_BUILD_TARGETS": "cpu"} if quick else {}
    for number in range(1 if quick else max(3, runs // 3)):
        # Either goes first as often: what one leaves to the disk, the next one waits for.
        for switch in sorted(found, reverse=number % 2 == 0):
            times = found[switch]
            shutil.rmtree(place / "build", ignore_errors=True)
            summary, cache = place.parent / "summary.json", place.parent / "cache"
            shutil.rmtree(cache, ignore_errors=True)
            switched = {"AOT_BUILD_TRACER": switch} if switch else {}
            places = {"AOT_BUILD_SUMMARY": str(summary), "AOT_BUILD_CACHE_DIR": str(cache)}
            timed(place, "build", **env, **switched, **places)
            times.append(json.loads(summary.read_text()))
    rows = []
    for word in ("makespan_s", "cpu_s", "wall_s"):
        traced, plain = (sorted(told[word] for told in found[switch]) for switch in found)
        rows.append((f"cold build, {word}", f"{_compared(traced, plain, statistics.median)}; "
                     f"least {_compared(traced, plain, min)}"))  # fmt: skip
    return rows


def _compared(traced: list[float], plain: list[float], pick: Callable[[list[float]], float]) -> str:
    with_it, without = pick(traced), pick(plain)
    return f"{with_it:.1f} s, untraced {without:.1f} s ({with_it / without - 1:+.1%})"


PARTS = {"probing": measure_probing, "torch": measure_torch, "tracer": measure_tracer}


def main() -> None:
    """Measure what is asked for, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    rows: list[Row] = []
    for name in asked.part or PARTS:
        with tempfile.TemporaryDirectory(prefix=f"truth-cost-{name}-") as place:
            print(f"measuring {name} ...", file=sys.stderr)
            folder = Path(place, "project")
            rows += PARTS[name](folder, 3 if asked.quick else asked.runs, asked.quick)
    print("| measured | value |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
