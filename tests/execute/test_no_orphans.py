"""Whoever is killed, nobody of the tree is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aot_build import process
from aot_build.execute.pool import LocalPool
from aot_build.execute.protocol import Job
from tests.execute.trees import ENTRIES, Run, eventually, tagged

FAMILY = 4
"""Processes of the entry `family`, its worker included."""
DRIVER = """
import sys
from aot_build import process
from aot_build.execute.pool import LocalPool
from aot_build.execute.protocol import Job
process.become_subreaper()
sys.path.insert(0, sys.argv[1])
pool = LocalPool(2)
for number in range(2):
    pool.submit(Job(number, "entries:family", b""))
print(pool.server_pid, flush=True)
while True:
    for end in pool.wait():
        print(end.outcome, end.reason, flush=True)
"""


@pytest.fixture
def driver(tag: str, tmp_path: Path):  # type: ignore[no-untyped-def]
    """A process that owns a pool with two families running."""
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    root = Path(process.__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, str(script), str(ENTRIES)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as started:
        assert started.stdout is not None
        started.server = int(started.stdout.readline())  # type: ignore[attr-defined]
        assert eventually(lambda: len(tagged(tag)) >= 2 + 2 * FAMILY, 10)
        yield started
        started.kill()


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_the_driver_is_killed(driver, tag: str, signum: int) -> None:  # type: ignore[no-untyped-def]
    driver.send_signal(signum)
    driver.wait()
    assert eventually(lambda: not tagged(tag)), tagged(tag)


@pytest.mark.slow
def test_the_forkserver_is_killed(driver, tag: str) -> None:  # type: ignore[no-untyped-def]
    os.kill(driver.server, signal.SIGKILL)
    ends = [driver.stdout.readline() for _ in range(2)]
    assert ends == ["lost the forkserver was ended by SIGKILL\n"] * 2
    assert eventually(lambda: tagged(tag) == [driver.pid]), tagged(tag)


@pytest.mark.slow
def test_the_forkserver_is_asked_to_end(driver, tag: str) -> None:  # type: ignore[no-untyped-def]
    os.kill(driver.server, signal.SIGTERM)
    assert driver.stdout.readline().startswith("lost the forkserver exited with status 0")
    assert eventually(lambda: tagged(tag) == [driver.pid]), tagged(tag)


def test_a_timeout_takes_the_whole_family(run: Run, pool: LocalPool, tag: str) -> None:
    end = run("family", timeout=1)
    assert (end.outcome, end.reason) == ("timeout", "no answer after 1 s; it said last:\nup")
    assert 1 <= end.seconds < 2
    assert tagged(tag) == [pool.server_pid]


def test_a_killed_worker_takes_its_family(run: Run, pool: LocalPool, tag: str) -> None:
    pool.submit(Job(77, "entries:family", b""))
    assert eventually(lambda: len(tagged(tag)) == 1 + FAMILY, 5)
    assert pool.server_pid is not None
    (worker,) = process.children(pool.server_pid)
    os.kill(worker, signal.SIGKILL)
    (end,) = pool.wait()
    assert (end.outcome, end.reason) == ("crashed", "ended by SIGKILL")
    assert tagged(tag) == [pool.server_pid]


def test_what_a_job_leaves_running_is_gone_when_it_has_ended(run: Run) -> None:
    end = run("leave_running")
    assert end.outcome == "ok"
    assert not os.path.exists(f"/proc/{int(end.payload)}")


def test_a_helper_lives_as_long_as_its_job(run: Run) -> None:
    assert run("use_helper").payload == b"alive"


def test_closing_takes_what_runs(pool: LocalPool, tag: str) -> None:
    pool.submit(Job(1, "entries:family", b""))
    assert eventually(lambda: len(tagged(tag)) == 1 + FAMILY, 5)
    began = time.monotonic()
    pool.close()
    assert tagged(tag) == []
    assert time.monotonic() - began < 2


def test_closing_does_not_wait_for_a_forkserver_that_is_stopped(pool: LocalPool, tag: str) -> None:
    pool.submit(Job(1, "entries:family", b""))
    assert eventually(lambda: len(tagged(tag)) == 1 + FAMILY, 5)
    assert pool.server_pid is not None
    os.kill(pool.server_pid, signal.SIGSTOP)
    began = time.monotonic()
    pool.close()
    assert time.monotonic() - began < 2
    assert eventually(lambda: not tagged(tag), 2), tagged(tag)


def test_a_dead_forkserver_is_replaced_while_jobs_end(tmp_path: Path) -> None:
    with LocalPool(1, log=tmp_path / "log") as pool:
        outcomes = []
        for number, entry in enumerate(["kill_parent", "null", *["kill_parent"] * 4, "null"]):
            pool.submit(Job(number, f"entries:{entry}", b""))
            outcomes += [end.outcome for end in pool.wait(5)]
    assert outcomes == ["lost", "ok", "lost", "lost", "lost", "lost", "lost"]


def test_jobs_that_wait_survive_the_forkserver(pool: LocalPool) -> None:
    for number, entry in enumerate(["kill_parent", "nap", "null", "null"]):
        pool.submit(Job(number, f"entries:{entry}", b"60"))
    ends = {}
    while len(ends) < 4:
        ends |= {end.id: end.outcome for end in pool.wait()}
    assert ends == {0: "lost", 1: "lost", 2: "ok", 3: "ok"}


def test_a_sweep_spares_what_the_owner_started(tag: str, tmp_path: Path) -> None:
    before = process.is_subreaper()
    process.become_subreaper()
    try:
        with LocalPool(1, log=tmp_path / "log") as pool:
            pool.submit(Job(1, "entries:kill_parent_with_family", b""))
            own = [
                subprocess.Popen(["sleep", "60"], start_new_session=new) for new in (True, False)
            ]
            try:
                assert [end.outcome for end in pool.wait()] == ["lost"]
                assert sorted(tagged(tag)) == sorted(child.pid for child in own)
            finally:
                for child in own:
                    child.kill()
                    child.wait()
    finally:
        process.become_subreaper(before)
