"""`kill -9` of anything during a build: no process left after 3 s, and the next build is fine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs proc(5)"),
]

SLOW = """\
import subprocess, time
from pathlib import Path

def make(out_dir, target, n):
    subprocess.Popen(["setsid", "sleep", "300"])
    Path(out_dir, "table.txt").write_text("x" * n)
    if not Path(out_dir).parents[3].joinpath("quick").exists():
        time.sleep(300)
"""


def tree(tag: str) -> dict[int, str]:
    """Processes whose environment holds the tag -> their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if tag.encode() in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().decode()
            except OSError:
                continue
    return found


def wait_for(condition, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


def victim_of(kind: str, found: dict[int, str], asking: int) -> int:
    if kind == "front end":
        return asking
    servers = [pid for pid, line in found.items() if "execute.forkserver" in line]
    drivers = [pid for pid, line in found.items() if "aot_build.driver" in line]
    if kind == "driver":
        return drivers[0]
    children = {pid: _parent(pid) for pid in servers}
    root = next(pid for pid in servers if children[pid] in drivers)
    return root if kind == "forkserver" else next(p for p in servers if children[p] == root)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("kind", ["front end", "driver", "forkserver", "worker"])
def test_nothing_lives_on(project, tmp_path, kind):
    tag = f"AOT_TEST_TAG={tmp_path}"
    project.write({"demo/generate.py": SLOW})
    project.edit("pyproject.toml", 'targets = ["cpu", "cpu:x86-64-v3"]', "retries = 0")
    asking = subprocess.Popen(
        [sys.executable, "-m", "aot_build", "build", "--project", str(project.path), "-j", "2"],
        env={**project.env, "AOT_TEST_TAG": str(tmp_path)},
        stderr=subprocess.PIPE,
    )
    assert wait_for(lambda: sum("sleep" in line for line in tree(tag).values()) >= 2, 30)
    os.kill(victim_of(kind, tree(tag), asking.pid), signal.SIGKILL)
    if kind in ("forkserver", "worker"):
        # The build itself goes on without them; what it still runs is ended with it.
        time.sleep(1.0)
        asking.terminate()
    asking.communicate(timeout=30)
    assert wait_for(lambda: not tree(tag), 3.0), tree(tag)
    (project.path / "quick").touch()
    summary = project.build()
    assert summary["executed"] + summary["hits"] == summary["actions"]
    assert not list((project.path / "build" / "aot").glob("work-*"))
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_with_130(project, tmp_path, stop):
    tag = f"AOT_TEST_TAG={tmp_path}"
    project.write({"demo/generate.py": SLOW})
    asking = subprocess.Popen(
        [sys.executable, "-m", "aot_build", "build", "--project", str(project.path)],
        env={**project.env, "AOT_TEST_TAG": str(tmp_path)},
        stderr=subprocess.PIPE,
    )
    assert wait_for(lambda: sum("sleep" in line for line in tree(tag).values()) >= 1, 30)
    asking.send_signal(stop)
    asking.communicate(timeout=10)
    assert asking.returncode == 130
    assert not tree(tag)
    assert not list((project.path / "build" / "aot").glob("work-*"))
