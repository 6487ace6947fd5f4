"""Full disks, few descriptors, read-only caches: the build succeeds, or says one clear line, and
nothing wrong is stored."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.flow.conftest import Project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs tmpfs"),
]
ROWS = 12
SIZE = 100_000
FILES = {
    "pyproject.toml": f"""\
[tool.aot-build]
package = "demo"

[[tool.aot-build.kernels]]
name = "table"
backend = "python"
source = "demo.generate:make"
configs = [{{ n = {list(range(ROWS))} }}]
""",
    "demo/__init__.py": "",
    "demo/generate.py": f"""\
from pathlib import Path

def make(out_dir, target, n):
    Path(out_dir, "table.bin").write_bytes(bytes([n]) * {SIZE})
""",
}


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small file system of its own."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"mount is refused: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def make(new_project: Callable[..., Project]) -> Callable[..., Project]:
    def made(name: str = "one") -> Project:
        return new_project(name, FILES)

    return made


def right(project: Project) -> bool:
    """Whether the result folder holds what it should."""
    found = [c for name, c in project.artifacts().items() if name.endswith("table.bin")]
    return sorted(found) == [bytes([n]) * SIZE for n in range(ROWS)]


def notices(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if any(word in line for word in words)]


WITHOUT = ("without a cache", "is not writable")


@pytest.mark.parametrize(
    "options",
    ["size=4k", "size=400k", "size=1m", "nr_inodes=2", "nr_inodes=9", "nr_inodes=40"],
)
def test_a_full_cache_is_done_without(make, tmp_path, options):
    """From the first byte, among the blobs, or when the results are written."""
    with mounted(tmp_path / "cache", options):
        project = make()
        ended = project.command("build", "--json")
        assert ended.returncode == 0, ended.stderr
        assert right(project)
        assert len(notices(ended.stderr, *WITHOUT)) == 1, ended.stderr
        assert "Traceback" not in ended.stderr
        kept = tmp_path / "kept"
        subprocess.run(["cp", "-a", str(tmp_path / "cache"), str(kept)], check=True)
    assert not list(kept.rglob("*.tmp"))
    again = make("again")
    summary = again.build(AOT_BUILD_CACHE_DIR=str(kept))
    assert right(again) and summary["executed"] + summary["hits"] == ROWS
    assert not (kept / "set-aside").exists(), "something damaged was there to be found"
    assert "Traceback" not in (project.path / "build" / "aot" / "driver.log").read_text()


@pytest.mark.parametrize("options", ["size=300k", "size=1m", "nr_inodes=3", "nr_inodes=30"])
def test_a_full_disk_for_the_result_is_one_clear_line(make, tmp_path, options):
    project = make()
    with mounted(project.path / "build", options):
        ended = project.command("build")
        assert ended.returncode in (1, 2), ended.stderr
        assert "Traceback" not in ended.stderr
        assert "No space left on device" in ended.stderr
        assert "free some disk space" in ended.stderr
        assert not (project.result / "manifest.json").exists()
    assert project.build()["failed"] == 0
    assert right(project) and not (tmp_path / "cache" / "set-aside").exists()


def test_a_disk_too_full_for_any_output_fails_the_build(make, tmp_path):
    project = make()
    with mounted(project.path / "build", "size=16k"):
        ended = project.command("build")
        assert ended.returncode in (1, 2) and "Traceback" not in ended.stderr
        assert "No space left on device" in ended.stderr
    assert project.build()["executed"] == ROWS and right(project)


def test_cache_and_result_on_one_full_disk(make, tmp_path):
    project = make()
    with mounted(project.path / "build", "size=1m") as disk:
        ended = project.command("build", AOT_BUILD_CACHE_DIR=str(disk / "cache"))
        assert ended.returncode in (1, 2) and "Traceback" not in ended.stderr
        assert "No space left on device" in ended.stderr
        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        assert project.build(AOT_BUILD_CACHE_DIR=str(disk / "cache"))["failed"] == 0
        assert right(project) and not (disk / "cache" / "set-aside").exists()


def test_few_descriptors(make, tmp_path):
    project = make()

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    def build(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "aot_build", "build", *words],
            env=project.env, cwd=project.path, preexec_fn=few,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    ended = build("-j", "16")
    assert ended.returncode == 0, ended.stderr
    assert right(project)
    assert not (tmp_path / "cache" / "set-aside").exists()


def test_a_cache_mounted_read_only_is_read(make, tmp_path):
    with mounted(tmp_path / "cache", "size=10m") as cache:
        make("first").build()
        subprocess.run(["mount", "-o", "remount,ro", str(cache)], check=True)
        project = make("second")
        ended = project.command("build", "--json")
        assert ended.returncode == 0, ended.stderr
        assert f'"hits": {ROWS}' in ended.stdout and right(project)
        assert len(notices(ended.stderr, *WITHOUT)) == 1
        collected = project.command("gc", "--max-size", "0")
        assert collected.returncode == 2 and "Read-only file system" in collected.stderr
        dry = project.command("gc", "--max-size", "0", "--dry-run")
        assert f"would remove {ROWS} results" in dry.stdout


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv"
)
def test_a_cache_of_somebody_else_is_read(make, tmp_path):
    make("first").build()
    cache = tmp_path / "cache"
    for path in (cache, *cache.rglob("*")):
        os.chown(path, 65534, 65534)
    # Without capabilities even root may not write what belongs to another user.
    project = make("second")
    ended = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", "aot_build",
         "build", "--json"],
        env=project.env, cwd=project.path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert f'"hits": {ROWS}' in ended.stdout and right(project)
    assert len(notices(ended.stderr, *WITHOUT)) == 1
    assert all(path.stat().st_uid == 65534 for path in cache.rglob("*"))
