"""A process that goes away takes along who works for it, and nobody else does."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aot_build import process
from tests.execute.trees import eventually, tagged

ROOT = Path(process.__file__).parents[1]
REFUSALS = {
    "given": "",
    "unknown to the kernel": "def no(pid): raise OSError(errno.ENOSYS, 'no')\nos.pidfd_open = no",
    "forbidden": "def no(pid): raise PermissionError(errno.EPERM, 'no')\nos.pidfd_open = no",
    "unknown to Python": "del os.pidfd_open",
}
WORKER = """
import errno, os, subprocess, sys, time
from aot_build import process
{refusal}
subprocess.Popen(["sleep", "60"], start_new_session=True)
process.watch_processes([int(pid) for pid in sys.argv[1:]])
print("watching", flush=True)
time.sleep(60)
"""
ASKING = """
import os, subprocess, sys, time
with subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid()), *sys.argv[2:]]):
    time.sleep(60)
"""


@pytest.fixture
def front_end() -> Iterator[subprocess.Popen[bytes]]:
    """A process that started nobody."""
    with subprocess.Popen(["sleep", "60"]) as started:
        yield started
        started.kill()


@pytest.fixture
def asking(
    request: pytest.FixtureRequest, tag: str, front_end: subprocess.Popen[bytes]
) -> Iterator[subprocess.Popen[str]]:
    """A process whose worker watches it and the front end; pidfds are refused as asked."""
    script = WORKER.format(refusal=REFUSALS[request.param])
    with subprocess.Popen(
        [sys.executable, "-c", ASKING, script, str(front_end.pid), "0", "-1"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "watching\n"
        yield started
        for pid in tagged(tag):
            process.kill(pid)


every_refusal = pytest.mark.parametrize("asking", REFUSALS, indirect=True)


@every_refusal
def test_nobody_is_ended_while_all_live(asking: subprocess.Popen[str], tag: str) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        asking.wait(2.5 * process.LOOK_SECONDS)
    # The one that asked, its worker, what that started, and the front end.
    assert len(tagged(tag)) == 4


@every_refusal
def test_the_one_that_asked_is_gone(
    asking: subprocess.Popen[str], front_end: subprocess.Popen[bytes], tag: str
) -> None:
    asking.kill()
    asking.wait()
    assert eventually(lambda: tagged(tag) == [front_end.pid]), tagged(tag)


@every_refusal
def test_the_front_end_is_gone(
    asking: subprocess.Popen[str], front_end: subprocess.Popen[bytes], tag: str
) -> None:
    front_end.kill()
    front_end.wait()
    assert asking.wait(3) == -signal.SIGKILL
    assert eventually(lambda: not tagged(tag)), tagged(tag)


def test_the_front_end_was_gone_before(tag: str) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    script = WORKER.format(refusal="")
    done = subprocess.run(
        [sys.executable, "-c", ASKING, script, str(gone.pid)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=10,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")
    assert eventually(lambda: not tagged(tag)), tagged(tag)


def test_where_nobody_is_watched_nothing_happens() -> None:
    script = "from aot_build import process; process.watch_processes([0]); print('alive')"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, cwd=ROOT, text=True, timeout=10
    )
    assert done.stdout == "alive\n"
