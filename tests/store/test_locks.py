"""Locks exclude between builds, die with their process, and leave no litter."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aot_build.store import locks as locks_module
from aot_build.store import ranges
from aot_build.store.locks import Locks

ONE, TWO, NEAR = "a1" + "0" * 30, "b2" + "0" * 30, "a11" + "0" * 29
HOLDER = """
import sys, time
from pathlib import Path
from aot_build.store import locks, ranges
if sys.argv[2] == "files":
    ranges.AVAILABLE = False
held = locks.Locks(Path(sys.argv[1]))
print([held.acquire(key) for key in sys.argv[3:]], flush=True)
time.sleep(60)
"""


@pytest.fixture(params=["ranges", "files"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "files":
        monkeypatch.setattr(ranges, "AVAILABLE", False)
    return str(request.param)


@pytest.fixture
def holder(tmp_path: Path, kind: str) -> Iterator[subprocess.Popen[str]]:
    """Another build that holds `ONE`."""
    root = Path(locks_module.__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), kind, ONE],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.stdout and process.stdout.readline() == "[True]\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.usefixtures("holder")
def test_another_build_waits_for_nothing_else(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    assert not locks.acquire(ONE)
    assert locks.acquire(TWO)
    locks.close()


def test_killed_its_locks_are_free(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    locks = Locks(tmp_path)
    assert not locks.acquire(ONE)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert locks.acquire(ONE)
    locks.close()


@pytest.mark.usefixtures("kind")
def test_two_builds_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    one, other = Locks(tmp_path), Locks(tmp_path)
    assert one.acquire(ONE) and one.acquire(ONE), "its own lock is no obstacle"
    assert not other.acquire(ONE)
    one.release(ONE)
    assert other.acquire(ONE) and not one.acquire(ONE)
    other.close()
    assert one.acquire(ONE)
    one.close()


@pytest.mark.usefixtures("kind")
def test_giving_one_back_keeps_the_others(tmp_path: Path) -> None:
    one, other = Locks(tmp_path), Locks(tmp_path)
    assert one.acquire(ONE) and one.acquire(NEAR)
    one.release(NEAR)
    one.release(NEAR)
    one.release(TWO)
    assert not other.acquire(ONE)
    one.close()
    one.close()
    assert other.acquire(ONE)
    other.close()


def test_byte_ranges_leave_one_file_and_tell_near_keys_apart(tmp_path: Path) -> None:
    if not ranges.AVAILABLE:
        pytest.skip("needs open file description locks (Linux)")
    one, other = Locks(tmp_path), Locks(tmp_path)
    far = "f" * 32
    assert one.acquire(ONE) and one.acquire(far)
    assert other.acquire("a1" + "0" * 12 + "1" + "0" * 17)
    assert not other.acquire(far)
    one.close(), other.close()
    assert os.listdir(tmp_path) == ["locks-v1"]
    assert (tmp_path / "locks-v1").stat().st_size == 0


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    if not ranges.AVAILABLE:
        pytest.skip("needs open file description locks (Linux)")
    one, other = Locks(tmp_path), Locks(tmp_path)

    def without(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    assert one.broken == ""
    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "fcntl", without)
        assert one.acquire(ONE) and other.acquire(ONE)
        one.release(ONE)
        one.close()
    assert os.strerror(number) in one.broken and "locks-v1" in one.broken
    other.close()


def test_a_file_system_without_lock_files_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "AVAILABLE", False)

    def without(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without)
    one, other = Locks(tmp_path), Locks(tmp_path)
    assert one.acquire(ONE) and other.acquire(ONE)
    assert one.broken and other.broken
    one.release(ONE)
    one.close(), other.close()


def test_a_lock_that_is_held_is_not_broken(tmp_path: Path) -> None:
    one, other = Locks(tmp_path), Locks(tmp_path)
    assert one.acquire(ONE) and not other.acquire(ONE)
    assert (one.broken, other.broken) == ("", "")
    one.close(), other.close()
