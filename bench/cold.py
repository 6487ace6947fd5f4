"""A cold build of this repository's own kernels, against the least that it could take and peers.

    python bench/cold.py [--runs 5] [--workers 2] [--kernel gpu_gemm] [--target cuda:sm_90a]

Copies the checkout to a temporary folder and, by turns, with an empty cache each time, runs

- the build: from the first action's start to the last one's end (makespan) over the lower bound,
  max(critical path, CPU time / workers), of that very run;
- the same jobs, as they were noted in the first build, through a plain
  `concurrent.futures.ProcessPoolExecutor`: whose processes work on, one job after another;
- the same jobs in a fresh interpreter each: every job pays for its imports.

Prints one table of medians, and the peers as ratios to the build. The peers get all jobs at once:
nothing is planned, probed, traced into a store or published for them, and no job waits for another.
Needs the compilers of the targets; `--kernel` and `--target` (repeatable) make it small.
"""

import argparse
import concurrent.futures
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
NOT_SOURCES = shutil.ignore_patterns(
    ".*", "build", "cache", "dist", "_aot", "__pycache__", "*.egg-info"
)
FRESH = (
    "import os, sys; payload = sys.stdin.buffer.read(); "
    "from aot_build.backends.work import perform; answer = perform(payload); "
    "open(sys.argv[1], 'wb').write(answer)"
)


class Watching:
    """An executor that passes everything on, and notes what was run and when."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor
        self.payloads: list[bytes] = []
        self.ends: list[Any] = []
        self.began = self.ended = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def submit(self, job: Any) -> None:
        self.began = self.began or time.perf_counter()
        self.payloads.append(job.payload)
        self._executor.submit(job)

    def wait(self, *words: Any, **named: Any) -> Any:
        ends = self._executor.wait(*words, **named)
        if ends:
            self.ended = time.perf_counter()
            self.ends += ends
        return ends


def build_once(project: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Build in this process; its times. The jobs are left in `jobs`, beside the project."""
    import msgspec

    from aot_build.build import build
    from aot_build.opening import load_settings, open_workspace
    from aot_build.request import Request

    request = Request(str(project), targets=asked.target, kernels=asked.kernel, jobs=asked.workers)
    settings, registry = load_settings(request)
    assert settings is not None
    began = time.perf_counter()
    workspace = open_workspace(settings, registry, lambda event: None)
    watching = Watching(workspace.executor)
    workspace.__dict__["executor"] = watching
    try:
        summary = build(workspace, request, time.time_ns())
    finally:
        workspace.close()
    cpu = sum(end.cpu_seconds for end in watching.ends)
    longest = max((end.seconds for end in watching.ends), default=0.0)
    (project.parent / "jobs").write_bytes(msgspec.msgpack.encode(watching.payloads))
    return {
        "jobs": len(watching.ends),
        "failed": summary.failed,
        "wall": time.perf_counter() - began,
        "makespan": summary.makespan_s or watching.ended - watching.began,
        "bound": summary.lower_bound_s or max(longest, cpu / asked.workers),
        "cpu": cpu,
    }


def replay(project: Path, asked: argparse.Namespace, how: str) -> dict[str, Any]:
    """The jobs of the build through a peer; wall time from the first to the last."""
    import msgspec

    from aot_build.core.work import WorkReport

    place = Path(tempfile.mkdtemp(dir=project.parent))
    payloads = msgspec.msgpack.decode((project.parent / "jobs").read_bytes(), type=list[bytes])
    placed = [placed_anew(payload, place / str(n)) for n, payload in enumerate(payloads)]
    began = time.perf_counter()
    answers = (in_a_pool if how == "pool" else in_fresh_processes)(placed, asked.workers)
    makespan = time.perf_counter() - began
    reports = [msgspec.msgpack.decode(each, type=WorkReport) if each else None for each in answers]
    failed = sum(report is None or report.error is not None for report in reports)
    shutil.rmtree(place)
    return {"jobs": len(answers), "failed": failed, "makespan": makespan}


def placed_anew(payload: bytes, folder: Path) -> tuple[bytes, str]:
    """An order with folders of its own, and its scratch."""
    import msgspec

    order = msgspec.msgpack.decode(payload)
    for name in ("out_dir", "scratch"):
        order[name] = str(folder / name)
        os.makedirs(order[name])
    return msgspec.msgpack.encode(order), order["scratch"]


def in_a_pool(placed: list[tuple[bytes, str]], workers: int) -> list[bytes]:
    """Each process of the pool performs one order after another."""
    with concurrent.futures.ProcessPoolExecutor(workers) as pool:
        return list(pool.map(perform_in_pool, placed))


def perform_in_pool(placed: tuple[bytes, str]) -> bytes:
    """One order; empty where it raises."""
    payload, scratch = placed
    os.chdir(scratch)
    os.environ["TMPDIR"], tempfile.tempdir = scratch, None
    from aot_build.backends.work import perform

    try:
        return perform(payload)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return b""


def in_fresh_processes(placed: list[tuple[bytes, str]], workers: int) -> list[bytes]:
    """An interpreter for each order, as many at once as there are workers."""

    def perform(each: tuple[bytes, str]) -> bytes:
        payload, scratch = each
        answer = Path(scratch).parent / "answer"
        env = {**os.environ, "TMPDIR": scratch}
        command = [sys.executable, "-c", FRESH, str(answer)]
        done = subprocess.run(command, input=payload, cwd=scratch, env=env, stdout=sys.stderr)
        return answer.read_bytes() if done.returncode == 0 else b""

    with concurrent.futures.ThreadPoolExecutor(workers) as threads:
        return list(threads.map(perform, placed))


def one_turn(place: Path, how: str) -> dict[str, Any]:
    """One measurement in a process of its own, from an empty cache."""
    for name in ("cache", "ours/build"):
        shutil.rmtree(place / name, ignore_errors=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AOT_", "PYTHON"))}
    env = {
        **kept,
        "PYTHONPATH": str(place / "ours"),
        "AOT_BUILD_CACHE_DIR": str(place / "cache"),
        "MAX_JOBS": "",
    }
    command = [sys.executable, str(place / "ours/bench/cold.py"), *sys.argv[1:]]
    told = place / "told.json"
    done = subprocess.run(
        [*command, "--turn", how, str(told)],
        env=env, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{how} failed\n{done.stderr}")
    found: dict[str, Any] = json.loads(told.read_text())
    return found


def main() -> None:
    """Measure by turns, then print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kernel", action="append", help="default: all; repeatable")
    parser.add_argument("--target", action="append", help="default: as declared; repeatable")
    parser.add_argument("--turn", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.turn:
        how, told = asked.turn
        project = CHECKOUT
        turn: Callable[[], dict[str, Any]] = lambda: (  # noqa: E731
            build_once(project, asked) if how == "build" else replay(project, asked, how)
        )
        Path(told).write_text(json.dumps(turn()))
        return
    busy = os.getloadavg()[0]
    found: dict[str, list[dict[str, Any]]] = {"build": [], "pool": [], "fresh": []}
    with tempfile.TemporaryDirectory(prefix="cold-") as folder:
        place = Path(folder).resolve()
        shutil.copytree(CHECKOUT, place / "ours", ignore=NOT_SOURCES)
        for _ in range(asked.runs):
            for how, turns in found.items():
                turns.append(one_turn(place, how))
    report(asked, busy, found)


def report(asked: argparse.Namespace, busy: float, found: dict[str, list[dict[str, Any]]]) -> None:
    """One table."""
    first = found["build"][0]
    print(
        f"{first['jobs']} jobs, {asked.workers} workers, medians of {asked.runs} runs by turns; "
        f"{os.cpu_count()} cores, load {busy:.1f} at the start"
    )
    names = {
        "build": "aot_build",
        "pool": "ProcessPoolExecutor",
        "fresh": "an interpreter a job",
    }
    ours = statistics.median(turn["makespan"] for turn in found["build"])
    print(f"{'':24} {'makespan':>10} {'to aot_build':>13} {'failed':>7}")
    for how, name in names.items():
        took = statistics.median(turn["makespan"] for turn in found[how])
        failed = max(turn["failed"] for turn in found[how])
        print(f"{name:24} {took:8.1f} s {took / ours:12.2f}x {failed:7}")
    over = [turn["makespan"] / turn["bound"] for turn in found["build"] if turn["bound"]]
    bound = statistics.median(turn["bound"] for turn in found["build"])
    wall = statistics.median(turn["wall"] for turn in found["build"])
    print(
        f"makespan over the lower bound ({bound:.1f} s): {statistics.median(over):.3f}"
        f" (most {max(over):.3f}); the whole build, planning included: {wall:.1f} s"
    )


if __name__ == "__main__":
    main()
