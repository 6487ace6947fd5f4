"""Ends that are asked for: at once, with what had finished kept and nothing else left."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.flow.storms import ACTIONS, SLOTS, Storm
from tests.flow.trees import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs proc(5)"),
]

RAISING = """\
import os, time
from setuptools import setup
from setuptools.command.build_py import build_py

class Raising(build_py):
    def run(self):
        while len(open(os.environ["AOT_TEST_NOTES"]).read().splitlines()) < 20:
            time.sleep(0.05)
        raise RuntimeError("no sources today")

setup(cmdclass={"build_py": Raising})
"""


@pytest.fixture
def storm(tmp_path: Path) -> Storm:
    return Storm(tmp_path, str(tmp_path))


def check_end(storm: Storm, build: "subprocess.Popen[bytes]", began: float, finished: int) -> None:
    """It is over, what had finished by then is kept, and nothing is left."""
    build.wait(10)
    assert wait_for(lambda: not storm.living(), 10), storm.living()
    print(f"ended after {time.monotonic() - began:.2f} s")
    storm.check_clean()
    # The last ones had written their line, and were ended before they could answer.
    assert storm.published() >= finished - SLOTS > 0
    words = [sys.executable, "-m", "aot_build", "plan", "--json"]
    said = subprocess.run(words, cwd=storm.project, env=storm.env, capture_output=True, check=True)
    rows = json.loads(said.stdout)
    assert len(rows) == ACTIONS and sum(row["hit"] for row in rows) == storm.published()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("front", "statuses"),
    [
        ("alone", (130, 130)),
        ("setuptools", (1, -signal.SIGTERM)),
        ("pip", (1, -signal.SIGTERM)),
    ],
)
def test_a_stop(storm: Storm, front: str, stop: signal.Signals, statuses: tuple[int, int]) -> None:
    """setuptools and pip exit with 1 when they are interrupted, and do not handle SIGTERM."""
    build = storm.start(getattr(storm, front)())
    assert wait_for(lambda: len(storm.finished()) >= 8 or build.poll() is not None, 60)
    began, finished = time.monotonic(), len(storm.finished())
    build.send_signal(stop)
    check_end(storm, build, began, finished)
    assert build.returncode == statuses[stop == signal.SIGTERM], storm.said()


def test_another_command_raises(storm: Storm) -> None:
    (storm.project / "setup.py").write_text(RAISING)
    build = storm.start([sys.executable, "setup.py", "build"])
    assert wait_for(lambda: "no sources today" in storm.said(), 60), storm.said()
    began = time.monotonic()
    check_end(storm, build, began, 8)
    assert build.returncode == 1
