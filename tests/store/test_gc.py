"""What a collection takes: the least recently hit, and whatever leads to nothing any more."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aot_build.core.artifact import Artifact
from aot_build.core.result import ActionResult
from aot_build.core.trace import Trace
from aot_build.digest import blob_digest, key_digest
from aot_build.errors import EnvironmentProblem
from aot_build.files import write_atomic
from aot_build.store import gc, leases
from aot_build.store.gc import Limits, collect
from aot_build.store.leases import Leases
from aot_build.store.local import LocalStore
from aot_build.store.records import encode_record
from tests.store.aged import DAY, age, base, blob, holding, key, publish, trace

NOTHING = Limits(max_bytes=0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def filled(root: Path) -> Path:
    """Three results of 1,000 bytes, a day between their last uses; `a` is the oldest."""
    for days, name in enumerate("cba", start=1):
        store = LocalStore(root)
        publish(store, name, name.encode() * 1000)
        store.close()
        for path in (*root.glob(f"*/*/{key(name)}"), blob(root, name.encode() * 1000)):
            then = time.time() - days * DAY
            os.utime(path, (then, then))
    age(root, 9 * DAY, "traces-v2/*/*")
    return root


def found(root: Path) -> str:
    """Names of the results that are a hit."""
    store = LocalStore(root)
    names = "".join(name for name in "abc" if store.result(key(name)))
    for name in names:
        ids = list(store.traces(base(name)))
        assert ids == [key_digest(trace(name))] and store.trace(ids[0]) == trace(name)
    store.close()
    return names


# Limits


def test_by_size_the_oldest_go_until_the_rest_fits(filled: Path) -> None:
    sizes = [p.stat().st_size for n in "bc" for p in filled.glob(f"actions-v1/*/{key(n)}")]
    done = collect(filled, Limits(max_bytes=2000 + sum(sizes)))
    assert found(filled) == "bc"
    assert (done.removed.results, done.removed.blobs, done.removed.traces) == (1, 1, 2)
    assert (done.kept.results, done.kept.blobs, done.kept.traces) == (2, 2, 4)
    assert not blob(filled, b"a" * 1000).exists()


def test_by_age_of_the_last_hit(filled: Path) -> None:
    assert collect(filled, Limits(max_seconds=2.5 * DAY)).removed.results == 1
    assert found(filled) == "bc"


def test_a_hit_makes_it_young(filled: Path) -> None:
    store = LocalStore(filled)
    assert store.result(key("a"))
    store.close()
    collect(filled, Limits(max_seconds=1.5 * DAY))
    assert found(filled) == "ac"


def test_a_young_entry_is_not_marked_again(filled: Path) -> None:
    (path,) = filled.glob(f"actions-v1/*/{key('c')}")
    age(filled, 1800, f"actions-v1/*/{key('c')}")
    before = path.stat().st_mtime_ns
    assert found(filled) == "abc" and path.stat().st_mtime_ns == before


def test_without_limits_only_what_leads_nowhere_goes(filled: Path) -> None:
    before = holding(filled)
    assert collect(filled, Limits()).removed.bytes == 0
    assert holding(filled) == before and found(filled) == "abc"


def test_nothing_may_stay(filled: Path) -> None:
    done = collect(filled, NOTHING)
    assert holding(filled) == [] and done.kept.bytes == 0
    assert done.removed.results == 3


def test_a_shared_blob_stays_with_the_last_that_names_it(root: Path) -> None:
    store = LocalStore(root)
    publish(store, "a", b"same" * 100, b"own")
    publish(store, "b", b"same" * 100)
    store.close()
    age(root, 5 * DAY)
    age(root, DAY, f"actions-v1/*/{key('b')}")
    collect(root, Limits(max_seconds=3 * DAY))
    assert found(root) == "b"
    assert blob(root, b"same" * 100).exists() and not blob(root, b"own").exists()


def test_dry_it_says_the_same_and_does_nothing(filled: Path) -> None:
    before = holding(filled)
    dry = collect(filled, Limits(max_seconds=1.5 * DAY), dry_run=True)
    assert holding(filled) == before
    assert collect(filled, Limits(max_seconds=1.5 * DAY)) == dry
    assert dry.removed.results == 2 and dry.removed.bytes > 2000


# What leads nowhere


def test_leftovers_of_killed_builds_go(filled: Path) -> None:
    temporary = [filled / "cas-v1" / "ab" / ".x.0123abcd.tmp", filled / ".probe.0123abcd"]
    orphan = filled / "cas-v1" / "ab" / ("ab" + "0" * 62)
    for path in (*temporary, orphan):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"12345")
    young = filled / "actions-v1" / ".y.0123abcd.tmp"
    young.touch()
    age(filled, 600, "cas-v1/ab/*")
    collect(filled, Limits())
    assert all(path.exists() for path in temporary), "a build may be writing them"
    assert not orphan.exists()
    age(filled, 2 * 3600, "cas-v1/ab/.*.tmp")
    age(filled, 2 * 3600, ".probe.*")
    assert collect(filled, Limits()).removed.leftovers == 2
    assert young.exists() and found(filled) == "abc"


def test_what_was_set_aside_is_kept_for_a_week(filled: Path) -> None:
    for name, days in (("old", 8), ("young", 6)):
        path = filled / "set-aside" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (time.time() - days * DAY,) * 2)
    collect(filled, Limits())
    assert os.listdir(filled / "set-aside") == ["young"]


@pytest.mark.parametrize("folder", ["history-v1", "preloads-v1"])
def test_what_old_projects_learned_goes(filled: Path, folder: str) -> None:
    for name, days in (("old", 40), ("young", 20)):
        path = filled / folder / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (time.time() - days * DAY,) * 2)
    collect(filled, Limits(max_seconds=30 * DAY))
    assert os.listdir(filled / folder) == ["young"]


def test_a_result_that_lost_a_blob_goes_with_the_others(root: Path) -> None:
    store = LocalStore(root)
    publish(store, "a", b"lost", b"left")
    store.close()
    age(root, 2 * DAY)
    blob(root, b"lost").unlink()
    collect(root, Limits())
    assert holding(root) == []


def test_a_damaged_result_goes(filled: Path) -> None:
    (path,) = filled.glob(f"actions-v1/*/{key('b')}")
    path.write_bytes(b"garbage")
    age(filled, DAY, f"actions-v1/*/{key('b')}")
    collect(filled, Limits())
    assert not path.exists() and found(filled) == "ac"
    assert not blob(filled, b"b" * 1000).exists()


def test_traces_stay_where_a_result_does_not_say_what_leads_to_it(filled: Path) -> None:
    """Records of the version before."""
    store = LocalStore(filled)
    result = store.result(key("c"))
    store.close()
    (path,) = filled.glob(f"actions-v1/*/{key('c')}")
    write_atomic(path, encode_record(result))
    age(filled, DAY, f"actions-v1/*/{key('c')}")
    assert collect(filled, Limits(max_bytes=1500)).removed.traces == 0
    assert found(filled) == "c"
    age(filled, DAY)
    collect(filled, NOTHING)
    assert holding(filled) == []


def test_a_result_that_cannot_be_read_keeps_every_blob(filled: Path) -> None:
    (path,) = filled.glob(f"actions-v1/*/{key('b')}")
    path.unlink()
    path.mkdir()  # For root no file is unreadable; this is no file either.
    path.rmdir()
    path.symlink_to("nowhere/at/all")
    done = collect(filled, NOTHING)
    assert done.unread == 1 and done.removed.results == 2
    assert blob(filled, b"b" * 1000).exists()


# Beside others


def test_one_at_a_time(filled: Path) -> None:
    other = Leases(filled)
    assert other.collect()
    assert collect(filled, NOTHING).skipped == gc.BUSY
    assert found(filled) == "abc"
    other.close()
    assert not collect(filled, Limits()).skipped


def test_what_a_build_hit_stays(filled: Path, tmp_path: Path) -> None:
    store = LocalStore(filled)
    result = store.result(key("a"))
    assert result
    done = collect(filled, NOTHING)
    assert (done.in_use, done.builds, done.removed.results) == (1, 1, 2)
    assert store.fetch(result.artifacts[0].digest, tmp_path / "place")
    store.close()
    age(filled, DAY)
    assert collect(filled, NOTHING).builds == 0
    assert holding(filled) == []


def test_what_a_build_hit_without_marking_it_stays(root: Path) -> None:
    store = LocalStore(root)
    publish(store, "a", b"a")
    store.close()
    age(root, 1800)
    store = LocalStore(root)
    assert store.result(key("a"))
    assert collect(root, NOTHING).in_use == 1
    assert store.result(key("a"))


def test_what_a_build_published_and_not_yet_showed_stays(filled: Path, tmp_path: Path) -> None:
    """The blob was there, old, and named by an old result alone."""
    store = LocalStore(filled)
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    (out / "0").write_bytes(b"a" * 1000)
    other = LocalStore(filled)
    result = other.result(key("b"))
    other.close()
    mine = ActionResult((Artifact("0", blob_digest(out / "0"), 1000),))
    store.publish(base("a"), trace("a"), key("new"), mine, out)
    age(filled, DAY, "actions-v1/*/*")
    collect(filled, NOTHING)
    store.flush()
    assert result and store.result(key("new")) == mine
    assert store.fetch(mine.artifacts[0].digest, tmp_path / "place")
    assert LocalStore(filled).trace(store.traces(base("a"))[0]) == trace("a")


def test_an_output_that_brings_an_old_time_along_is_not_old(root: Path, tmp_path: Path) -> None:
    store = LocalStore(root)
    out = tmp_path / "out"
    out.mkdir()
    (out / "0").write_bytes(b"copied")
    os.utime(out / "0", (0, 0))
    result = ActionResult((Artifact("0", blob_digest(out / "0"), 6),))
    store.publish(base("a"), Trace(), key("a"), result, out)
    collect(root, Limits())
    assert blob(root, b"copied").exists()


def test_files_that_cannot_be_removed_are_an_error(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(EnvironmentProblem, match="cannot be collected"):
        collect(filled, NOTHING)
    monkeypatch.undo()
    assert found(filled) == "abc"


DYING = """
import os, sys
from pathlib import Path
from aot_build.store.gc import Limits, collect
steps, unlink = int(sys.argv[2]), os.unlink
def dying(path, **options):
    global steps
    steps -= 1
    if steps < 0:
        os.kill(os.getpid(), 9)
    unlink(path, **options)
os.unlink = dying
collect(Path(sys.argv[1]), Limits(max_bytes=0))
"""


@pytest.mark.parametrize("steps", range(0, 12, 2))
def test_killed_at_any_step_it_leaves_a_whole_store(
    filled: Path, fresh_python: Callable[..., str], steps: int
) -> None:
    fresh_python(DYING, filled, str(steps), status=-signal.SIGKILL)
    found(filled)  # Whatever is a hit has its blobs and its traces.
    store = LocalStore(filled)
    for path in filled.glob("actions-v1/*/*"):
        result = store.result(path.name)
        assert result, "a result is there, and what it names is not"
        for artifact in result.artifacts:
            assert store.fetch(artifact.digest, filled.parent / "place")
    store.close()
    age(filled, DAY)
    assert not collect(filled, NOTHING).skipped, "its lock went with it"
    assert holding(filled) == []


def test_a_stopped_collection_holds_no_build_up(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "STUCK", 0.2)
    script = (
        "import sys\nfrom pathlib import Path\nfrom aot_build.store.leases import Leases\n"
        "leases = Leases(Path(sys.argv[1]))\n"
        "with leases.gate(exclusive=True):\n    print('in', flush=True)\n    sys.stdin.read()\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(gc.__file__).parents[2])}
    command = [sys.executable, "-c", script, str(filled)]
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as stopped:
        assert stopped.stdout and stopped.stdout.readline() == "in\n"
        store = LocalStore(filled)
        assert store.result(key("a"))
        store.close()
        stopped.kill()
