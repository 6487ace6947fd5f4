"""Leases say which builds run, are gone with them, and leave nothing behind."""

import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aot_build.store import leases as leases_module
from aot_build.store import ranges
from aot_build.store.gc import Limits, collect
from aot_build.store.leases import REFRESH, Leases
from aot_build.store.local import LocalStore
from tests.store.aged import DAY, age, ago, holding, key, publish

pytestmark = pytest.mark.skipif(
    not ranges.AVAILABLE, reason="needs open file description locks (Linux)"
)
HOLDER = """
import sys
from pathlib import Path
from aot_build.store.local import LocalStore
store = LocalStore(Path(sys.argv[1]))
print(store.result(sys.argv[2]) is not None, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cache with one result, used two days ago."""
    store = LocalStore(tmp_path / "cache")
    publish(store, "a", b"bytes")
    store.close()
    age(tmp_path / "cache", 2 * DAY)
    return tmp_path / "cache"


def live(root: Path) -> list[int]:
    looking = Leases(root, writable=False)
    found = looking.live()
    looking.close()
    return found


def test_every_build_is_seen_with_its_beginning(root: Path) -> None:
    before = time.time_ns()
    stores = [LocalStore(root) for _ in range(9)]
    found = live(root)
    assert len(found) == 9
    assert all(abs(began - before) < 60e9 for began in found)
    for store in stores:
        store.close()
    assert live(root) == [] and (root / "leases-v1").stat().st_size == 0


def test_a_store_that_is_forgotten_gives_its_lease_back(root: Path) -> None:
    store = LocalStore(root)
    assert len(live(root)) == 1
    del store
    assert live(root) == []


def test_killed_it_is_gone_and_until_then_it_protects(root: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(leases_module.__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root), key("a")],
        env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as build:  # fmt: skip
        assert build.stdout and build.stdout.readline() == "True\n"
        assert len(live(root)) == 1
        assert collect(root, Limits(max_bytes=0)).in_use == 1
        build.kill()
        build.wait()
    assert live(root) == []
    age(root, 2 * DAY)
    collect(root, Limits(max_bytes=0))
    assert holding(root) == []


def test_a_hit_marks_an_entry_once_an_hour(root: Path) -> None:
    (path,) = root.glob(f"actions-v1/*/{key('a')}")
    for seconds, marked in ((REFRESH / 2, False), (REFRESH * 2, True)):
        age(root, seconds)
        store = LocalStore(root)
        assert store.result(key("a"))
        store.close()
        assert (ago(path) < 60) is marked


@pytest.mark.parametrize("number", [errno.EPERM, errno.EROFS, errno.ENOSPC])
def test_where_nothing_can_be_marked_everything_stays(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = LocalStore(root)

    def refuse(path: object, *args: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "utime", refuse)
        assert store.result(key("a")), "a hit all the same"
    assert live(root) == [0]
    assert collect(root, Limits(max_bytes=0)).in_use == 1
    assert store.result(key("a"))
    store.close()


def test_a_reader_keeps_everything_and_writes_nothing(root: Path) -> None:
    def written() -> list[tuple[Path, int]]:
        return sorted((p, p.stat().st_ctime_ns) for p in root.rglob("*"))

    before = written()
    store = LocalStore(root, writable=False)
    assert store.result(key("a"))
    assert written() == before
    assert live(root) == [0] and collect(root, Limits(max_bytes=0)).in_use == 1
    store.close()
    assert live(root) == []


def test_a_cache_that_no_build_of_this_version_has_written_is_read(root: Path) -> None:
    (root / "leases-v1").unlink()
    store = LocalStore(root, writable=False)
    assert store.result(key("a")) and live(root) == []
    assert not (root / "leases-v1").exists()
    assert collect(root, Limits(max_bytes=0), dry_run=True).removed.results == 1


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EINVAL, errno.EOPNOTSUPP])
def test_without_locks_what_was_used_in_the_last_day_stays(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def without(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "fcntl", without)
    store = LocalStore(root)
    assert store.result(key("a"))
    assert collect(root, Limits(max_bytes=0)).in_use == 1
    age(root, 2 * DAY)
    collect(root, Limits(max_bytes=0))
    assert holding(root) == []


def test_a_stranger_s_file_is_locked_for_reading(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = os.open

    def refuse(path: object, flags: int, *args: int) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opening(path, flags, *args)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "open", refuse)
    mine = Leases(root)
    mine.begin()
    assert mine.broken == "" and len(live(root)) == 1
    mine.close()


def test_marking_waits_for_a_turn_of_the_collection(root: Path) -> None:
    (path,) = root.glob(f"actions-v1/*/{key('a')}")
    store, collector = Leases(root), Leases(root)
    with collector.gate(exclusive=True):
        assert not store._lock(fcntl.F_RDLCK, leases_module.GATE)
    with store.gate(), Leases(root).gate():
        assert not collector._lock(fcntl.F_WRLCK, leases_module.GATE)
    assert store.mark(path) and not store.mark(root / "nothing")
    store.close()
    collector.close()
