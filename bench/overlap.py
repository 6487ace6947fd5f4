"""A wheel with a C++ extension and kernels: both at once against one after the other.

    python bench/overlap.py [--files 8] [--kernels 8] [--weight 30] [--jobs 2] [--runs 3]

Makes a project in a temporary folder: a torch extension of several files (torch's BuildExtension,
ninja) and AOT kernels of the `cpp` backend; as it stands each is about 60 s of CPU. Times, by turns
and each from nothing:

- overlapped: `setup.py build`;
- AOT, then C++: `aot-build build`, then `setup.py build --no-aot`;
- C++, then AOT: the same in the other order.

The bound of a run is max(its CPU seconds / jobs, its longest compiler). Prints medians, ratios, and
the greatest number of compilers that ran at once, sampled from /proc: never more than jobs. Needs
torch, a C++ compiler and ninja >= 1.13 (`pip install torch ninja`).
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
COMPILERS = frozenset({"cc1plus", "cicc", "ptxas", "cudafe++"})
SAMPLE_SECONDS = 0.05
PYPROJECT = """\
[project]
name = "demo"
version = "1.0"

[tool.setuptools]
packages = ["demo"]

[tool.aot-build]
package = "demo"
targets = ["cpu"]

[[tool.aot-build.kernels]]
name = "kernel"
backend = "cpp"
source = "demo/kernel.cpp"
configs = [{{ NUMBER = {numbers}, WEIGHT = {weight} }}]
"""
KERNEL = """\
#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

template <int N> struct Tag {
    double value;
    bool operator<(const Tag& other) const { return value < other.value; }
};

template <int N> double all(double x) {
    if constexpr (N == 0) {
        return x;
    } else {
        std::map<Tag<N>, std::vector<std::string>> found;
        found[{x}].push_back(std::to_string(x));
        std::vector<Tag<N>> tags{{x}, {x + NUMBER}};
        std::sort(tags.begin(), tags.end());
        std::function<double(Tag<N>)> f = [&](Tag<N> t) { return t.value + found.size(); };
        return all<N - 1>(f(tags.front()));
    }
}

extern "C" double kernel(double x) { return all<WEIGHT>(x); }
"""
MODULE = 'PYBIND11_MODULE(native, m) { m.def("native0", &native0); }\n'
SETUP = """\
import glob
from setuptools import Distribution, setup
from torch.utils.cpp_extension import BuildExtension, CppExtension
from aot_build.commands import hook

class Plugged(Distribution):
    # Where the plugin is not installed no entry point does this.
    def finalize_options(self):
        super().finalize_options()
        hook.finalize(self)

setup(
    distclass=Plugged,
    cmdclass={"build_ext": BuildExtension.with_options(use_ninja=True)},
    ext_modules=[CppExtension("demo.native", sorted(glob.glob("demo/native*.cpp")))],
)
"""


@dataclass
class Run:
    """What one way of building came to."""

    wall: float = 0.0
    cpu: float = 0.0
    most: int = 0
    """Compilers at once."""
    longest: float = 0.0
    """Seconds of the slowest compiler."""
    seen: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Process id of a compiler -> when it was seen first and last."""

    def bound(self, jobs: int) -> float:
        return max(self.cpu / jobs, self.longest)


def make_project(folder: Path, files: int, kernels: int, weight: int) -> None:
    """The project, with nothing built."""
    (folder / "demo").mkdir(parents=True)
    (folder / "demo" / "__init__.py").touch()
    (folder / "demo" / "kernel.cpp").write_text(KERNEL)
    for number in range(files):
        text = (
            "#include <torch/library.h>\n"
            f"at::Tensor native{number}(at::Tensor x) {{ return x; }}\n"
            f'TORCH_LIBRARY_FRAGMENT(demo, m) {{ m.def("native{number}", &native{number}); }}\n'
        )
        (folder / "demo" / f"native{number}.cpp").write_text(text)
    numbers = list(range(kernels))
    (folder / "pyproject.toml").write_text(PYPROJECT.format(numbers=numbers, weight=weight))
    (folder / "setup.py").write_text(SETUP)


def compilers(folder: Path) -> Iterator[int]:
    """Process ids of compilers that stand somewhere in this folder: both sides' do."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                named = Path(entry.path, "comm").read_text().strip() in COMPILERS
                if named and Path(entry.path, "cwd").resolve().is_relative_to(folder):
                    yield int(entry.name)


def watch(run: Run, folder: Path, over: threading.Event) -> None:
    """Sample the compilers until it is over."""
    while not over.wait(SAMPLE_SECONDS):
        now = time.perf_counter()
        running = list(compilers(folder))
        run.most = max(run.most, len(running))
        for pid in running:
            run.seen[pid] = (run.seen.get(pid, (now, now))[0], now)


def build(commands: list[list[str]], folder: Path, jobs: int) -> Run:
    """Run the commands from nothing, one after the other. Exits where one fails."""
    run, over = Run(), threading.Event()
    for left in ("build", "cache", "demo.egg-info"):
        shutil.rmtree(folder / left, ignore_errors=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AOT_BUILD_", "MAKE"))} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(CHECKOUT),
        "AOT_BUILD_CACHE_DIR": str(folder / "cache"),
        "MAX_JOBS": str(jobs),
    }
    watcher = threading.Thread(target=watch, args=(run, folder, over))
    watcher.start()
    began = time.perf_counter()
    try:
        for words in commands:
            with open(folder / "log", "wb") as log:
                child = subprocess.Popen(words, cwd=folder, env=env, stdout=log, stderr=log)
                _, status, usage = os.wait4(child.pid, 0)
                child.returncode = os.waitstatus_to_exitcode(status)
            run.cpu += usage.ru_utime + usage.ru_stime
            if status:
                raise SystemExit((folder / "log").read_text("utf-8", "replace"))
        run.wall = time.perf_counter() - began
    finally:
        over.set()
        watcher.join()
    run.longest = max((last - first for first, last in run.seen.values()), default=0.0)
    return run


def show(ways: dict[str, list[Run]], jobs: int) -> None:
    """One table: medians."""
    print(f"{'':<15} {'wall s':>8} {'CPU s':>8} {'bound s':>8} {'wall/bound':>11} {'at once':>8}")
    for name, runs in ways.items():
        wall = statistics.median(run.wall for run in runs)
        cpu = statistics.median(run.cpu for run in runs)
        bound = statistics.median(run.bound(jobs) for run in runs)
        ratio = statistics.median(run.wall / run.bound(jobs) for run in runs)
        most = max(run.most for run in runs)
        print(f"{name:<15} {wall:8.1f} {cpu:8.1f} {bound:8.1f} {ratio:11.2f} {most:8}")
    ours = ways["overlapped"]
    for name, runs in ways.items():
        if runs is not ours:
            ratio = statistics.median(r.wall / o.wall for r, o in zip(runs, ours, strict=True))
            print(f"{name} takes {ratio:.2f} times as long as overlapped")


def main() -> None:
    """Build all ways, by turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--kernels", type=int, default=8)
    parser.add_argument("--weight", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    setup = [sys.executable, "setup.py", "-q", "build"]
    alone = [*setup, "build_ext", "--no-aot"]
    kernels = [sys.executable, "-m", "aot_build", "build"]
    ways = {
        "overlapped": [setup],
        "AOT, then C++": [kernels, alone],
        "C++, then AOT": [alone, kernels],
    }
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "project").resolve()
        make_project(project, asked.files, asked.kernels, asked.weight)
        for _ in range(asked.runs):
            for name, commands in ways.items():
                runs[name].append(build(commands, project, asked.jobs))
    show(runs, asked.jobs)


if __name__ == "__main__":
    main()
