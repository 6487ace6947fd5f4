"""A whole build inside a memory cgroup: nothing is killed that could have waited."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

GIB = 1 << 30
KERNEL = """
import mmap, time
from pathlib import Path

def make(out_dir, target, n, size=%d):
    held = mmap.mmap(-1, size)
    for at in range(0, size, 4096):
        held[at] = 1
    time.sleep(0.3)
    Path(out_dir, "kernel.bin").write_bytes(b"%%d" %% n)
"""


@contextlib.contextmanager
def memory_cgroup(limit: int) -> Iterator[Path]:
    """A memory cgroup below our own, of either version."""
    parent = _own_cgroup()
    if parent is None:
        pytest.skip("there is no memory cgroup here")
    folder = parent / f"aot-build-{os.getpid()}-{time.monotonic_ns()}"
    try:
        folder.mkdir()
        name = (
            "memory.limit_in_bytes" if (folder / "memory.limit_in_bytes").exists() else "memory.max"
        )
        (folder / name).write_text(str(limit))
    except OSError as error:
        with contextlib.suppress(OSError):
            folder.rmdir()
        pytest.skip(f"no memory cgroup can be made: {error}")
    try:
        yield folder
    finally:
        deadline = time.monotonic() + 10
        while folder.exists() and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                folder.rmdir()
            time.sleep(0.1)


def _own_cgroup() -> Path | None:
    from aot_build.execute.limits import cgroup_folders

    folders = cgroup_folders("memory")
    return folders[0] if folders else None


def project(folder: Path, rows: str, size: int) -> Path:
    (folder / "demo").mkdir()
    (folder / "demo/__init__.py").touch()
    (folder / "demo/kern.py").write_text(KERNEL % size)
    (folder / "pyproject.toml").write_text(
        '[tool.aot-build]\npackage = "demo"\n[[tool.aot-build.kernels]]\nname = "big"\n'
        f'backend = "python"\nsource = "demo.kern:make"\nconfigs = [{rows}]\n'
    )
    return folder


def build(folder: Path, cgroup: Path, **env: str) -> dict[str, object]:
    def enter() -> None:
        (cgroup / "cgroup.procs").write_text("0")

    summary = folder / "summary.json"
    command = [sys.executable, "-m", "aot_build", "build", "--jobs", "16"]
    more = {"AOT_BUILD_SUMMARY": str(summary), "AOT_BUILD_CACHE_DIR": str(folder / "kept"), **env}
    subprocess.run(
        command, cwd=folder, env={**os.environ, **more}, preexec_fn=enter, timeout=240, check=False
    )
    found: dict[str, object] = json.loads(summary.read_text())
    return found


def oom_kills(cgroup: Path) -> int:
    for name in ("memory.oom_control", "memory.events"):
        with contextlib.suppress(OSError):
            for line in (cgroup / name).read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    pytest.skip("kills are not counted here")


@pytest.mark.slow
def test_nothing_is_killed_that_could_have_waited(tmp_path: Path) -> None:
    """4 GiB, 16 slots, 1.5 GiB each, of which nothing is known at first."""
    rows = "{ n = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] }"
    with memory_cgroup(4 * GIB) as cgroup:
        summary = build(project(tmp_path, rows, 3 * GIB // 2), cgroup)
        assert (summary["executed"], summary["failed"], summary["retried"]) == (10, 0, 0)
        assert oom_kills(cgroup) == 0


@pytest.mark.slow
def test_what_is_killed_for_memory_is_tried_again_alone(tmp_path: Path) -> None:
    """The guess is far too small, so that all start at once."""
    rows = "{ n = [0, 1, 2, 3] }"
    with memory_cgroup(GIB) as cgroup:
        summary = build(project(tmp_path, rows, 5 * GIB // 8), cgroup, AOT_BUILD_MEM_PER_WORKER="1")
        assert (summary["executed"], summary["failed"]) == (4, 0), summary["failures"]
        assert oom_kills(cgroup) > 0 and summary["retried"] != 0


@pytest.mark.slow
def test_what_fits_nowhere_is_told(tmp_path: Path) -> None:
    with memory_cgroup(GIB // 2) as cgroup:
        folder = project(tmp_path, f"{{ n = 0, size = {GIB} }}, {{ n = 1, size = 4096 }}", 0)
        summary = build(folder, cgroup)
        assert (summary["executed"], summary["failed"], summary["retried"]) == (1, 1, 2)
        (failure,) = summary["failures"]  # type: ignore[misc]
        assert "out of memory" in failure["reason"]
