"""Nothing to do: 10,000 variants over 20 sources, second build, whole process, against ninja.

    python bench/null_build.py [--variants 10000] [--sources 20] [--runs 15]

Makes a project of `python` kernels and a ninja file of the same shape (one edge a variant, each
reading its source) in a temporary folder, builds both once, waits until every file has cooled
down, and then times the second build of each, by turns, as whole processes. Prints medians and
the ratio. Needs ninja (`pip install ninja`). Measures the script `aot-build` where it is installed
beside the interpreter, `python -m aot_build` elsewhere.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KERNEL = """\
from pathlib import Path

def make(out_dir, target, n):
    Path(out_dir, "kernel.bin").write_bytes(b"%d" % n)
"""


def make_project(folder: Path, variants: int, sources: int) -> None:
    """`variants` rows spread over `sources` modules."""
    package = folder / "demo"
    package.mkdir(parents=True)
    (folder / "cache").mkdir()
    (package / "__init__.py").touch()
    lines = ["[tool.aot-build]", 'package = "demo"', 'cache-dir = "cache"']
    for number in range(sources):
        (package / f"source_{number}.py").write_text(KERNEL)
        rows = "".join(f"{n}\n" for n in range(variants // sources))
        (package / f"rows_{number}.csv").write_text("n\n" + rows)
        lines += [
            "[[tool.aot-build.kernels]]",
            f'name = "kernel_{number}"',
            'backend = "python"',
            f'source = "demo.source_{number}:make"',
            f'configs = ["demo/rows_{number}.csv"]',
        ]
    (folder / "pyproject.toml").write_text("\n".join(lines) + "\n")


def make_ninja(folder: Path, variants: int, sources: int) -> None:
    """The same graph for ninja: an output an edge, 20 sources, one command line."""
    folder.mkdir(parents=True)
    lines = ["rule copy", "  command = cp $in $out"]
    for number in range(sources):
        (folder / f"source_{number}.py").write_text(KERNEL)
        lines += [
            f"build out/kernel_{number}/{n}.bin: copy source_{number}.py"
            for n in range(variants // sources)
        ]
    (folder / "build.ninja").write_text("\n".join(lines) + "\n")


def timed(command: list[str], folder: Path) -> float:
    """Milliseconds of wall time of a whole process. Raises where it fails."""
    began = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # As installed: with byte code.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, cwd=folder, env=env, check=True, **quiet)
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """Build both, then time both by turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", type=int, default=10_000)
    parser.add_argument("--sources", type=int, default=20)
    parser.add_argument("--runs", type=int, default=15)
    asked = parser.parse_args()
    ninja = shutil.which(
        "ninja", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if ninja is None:
        raise SystemExit("ninja is missing: pip install ninja")
    script = Path(sys.executable).with_name("aot-build")
    ours = (
        [str(script), "build"] if script.exists() else [sys.executable, "-m", "aot_build", "build"]
    )
    print("measured:", " ".join(ours))
    with tempfile.TemporaryDirectory(prefix="null-build-") as place:
        project, peer = Path(place, "ours"), Path(place, "peer")
        make_project(project, asked.variants, asked.sources)
        make_ninja(peer, asked.variants, asked.sources)
        cold = {"aot_build": timed(ours, project), "ninja": timed([ninja], peer)}
        time.sleep(2.5)
        for kept in snapshots(project):
            kept.unlink()
        slow = timed(ours, project)
        if not snapshots(project):
            raise SystemExit("no snapshot was written: the fast path cannot be measured")
        found: dict[str, list[float]] = {"aot_build": [], "ninja": [], "python -c pass": []}
        for _ in range(asked.runs):
            found["aot_build"].append(timed(ours, project))
            found["ninja"].append(timed([ninja], peer))
            found["python -c pass"].append(timed([sys.executable, "-c", "pass"], project))
    report(asked.variants, cold, slow, found)


def snapshots(project: Path) -> list[Path]:
    """What says that nothing is to be done."""
    return list((project / "build" / "aot").glob("snapshot-v*"))


def report(
    variants: int, cold: dict[str, float], slow: float, found: dict[str, list[float]]
) -> None:
    """One table."""
    print(f"{variants} outputs, nothing to do; whole process, milliseconds")
    print(f"{'':16} {'median':>8} {'least':>8} {'most':>8}")
    for name, times in found.items():
        row = (statistics.median(times), min(times), max(times))
        print(f"{name:16} {row[0]:8.1f} {row[1]:8.1f} {row[2]:8.1f}")
    ratio = statistics.median(found["aot_build"]) / statistics.median(found["ninja"])
    print(f"ratio aot_build / ninja: {ratio:.2f}")
    print(f"(cold: aot_build {cold['aot_build'] / 1000:.1f} s, ninja {cold['ninja'] / 1000:.1f} s; "
          f"aot_build without its snapshot: {slow / 1000:.2f} s)")  # fmt: skip


if __name__ == "__main__":
    main()
