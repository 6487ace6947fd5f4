"""Atomic writes, verified copies, and digests that are not taken twice."""

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from aot_build import files
from aot_build.digest import bytes_digest
from aot_build.files import (
    StatIndex,
    copy_verified,
    is_racy,
    replacing,
    stat_row,
    write_atomic,
)


@pytest.fixture
def old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files written by the test count as long settled."""
    monkeypatch.setattr(files, "RACY_NS", 0)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomic(path, b"old", sync=True)
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["file"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    whole = (b"a" * 50_000, b"b" * 50_000)
    write_atomic(path, whole[0])
    writer = threading.Thread(target=lambda: [write_atomic(path, whole[n % 2]) for n in range(100)])
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.add(path.read_bytes())
    writer.join()
    assert seen <= set(whole)


def test_a_copy_is_verified(tmp_path: Path) -> None:
    source, target = tmp_path / "blob", tmp_path / "out" / "file"
    source.write_bytes(b"bytes")
    digest = hashlib.sha256(b"bytes").hexdigest()
    assert not copy_verified(source, target, "0" * 64)
    assert not target.exists() and os.listdir(target.parent) == []
    assert copy_verified(source, target, digest, mode=0o640)
    assert target.read_bytes() == b"bytes" and target.stat().st_mode & 0o777 == 0o640
    assert target.stat().st_ino != source.stat().st_ino


# The stat index


def indexed(index_file: Path, path: Path) -> tuple[str | None, int]:
    """The digest as a new build takes it, and how many files it read."""
    index = StatIndex(index_file)
    found = index.digest(str(path))
    index.save()
    return found, index.read


@pytest.mark.usefixtures("old_files")
def test_an_unchanged_file_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "a.h"
    path.write_bytes(b"one")
    first = indexed(tmp_path / "index", path)
    assert first == (bytes_digest(b"one"), 1)
    assert indexed(tmp_path / "index", path) == (first[0], 0)


@pytest.mark.usefixtures("old_files")
def test_a_same_size_edit_with_the_old_mtime_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.h"
    path.write_bytes(b"one")
    before = path.stat()
    indexed(tmp_path / "index", path)
    time.sleep(0.02)
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert indexed(tmp_path / "index", path) == (bytes_digest(b"two"), 1)


@pytest.mark.usefixtures("old_files")
def test_a_swapped_inode_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.h"
    path.write_bytes(b"one")
    indexed(tmp_path / "index", path)
    write_atomic(path, b"two")
    assert indexed(tmp_path / "index", path) == (bytes_digest(b"two"), 1)


def test_a_file_that_changed_just_now_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.h"
    path.write_bytes(b"one")
    assert indexed(tmp_path / "index", path)[1] == 1
    assert indexed(tmp_path / "index", path)[1] == 1


def test_a_digest_taken_in_haste_is_not_kept_by_a_long_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is when it was read, not when the build ends."""
    path = tmp_path / "a.h"
    path.write_bytes(b"one")
    index = StatIndex(tmp_path / "index")
    index.digest(str(path))
    late = time.time_ns() + 60 * files.RACY_NS
    monkeypatch.setattr(time, "time_ns", lambda: late)
    index.save()
    assert index.racy == {str(path)}
    assert StatIndex(tmp_path / "index")._kept == {}


def test_racy_looks_at_both_times() -> None:
    now = 10 * files.RACY_NS
    old, young = now - 2 * files.RACY_NS, now - files.RACY_NS // 2
    assert not is_racy((1, 1, 1, old, old), now)
    assert is_racy((1, 1, 1, young, old), now)
    assert is_racy((1, 1, 1, old, young), now)
    assert is_racy((1, 1, 1, now + 5 * files.RACY_NS, old), now), "a time in the future"


@pytest.mark.usefixtures("old_files")
@pytest.mark.parametrize("damage", [b"", b"\x00" * 40, b"garbage", b"\x81\xa1a\x92"])
def test_a_damaged_index_costs_only_reading(tmp_path: Path, damage: bytes) -> None:
    path, index = tmp_path / "a.h", tmp_path / "index"
    path.write_bytes(b"one")
    indexed(index, path)
    index.write_bytes(damage)
    assert indexed(index, path) == (bytes_digest(b"one"), 1)
    assert indexed(index, path)[1] == 0


def test_an_index_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    index = StatIndex(tmp_path / "file" / "index")
    assert index.digest(str(tmp_path / "file")) == bytes_digest(b"")
    index.save()


def test_what_is_no_file_has_no_digest(tmp_path: Path) -> None:
    """A pipe too: opening one would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    os.symlink("nowhere", tmp_path / "dangling")
    index = StatIndex()
    for name in ("pipe", "dangling", "gone", "."):
        assert index.digest(str(tmp_path / name)) is None
    assert index.rows() == {}


def test_one_build_sees_one_state_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h"
    path.write_bytes(b"one")
    index = StatIndex()
    first = index.digest(str(path))
    path.write_bytes(b"twoo")
    assert index.digest(str(path)) == first
    assert not index.held_since(str(path), time.time_ns() + 10**9)


def test_a_file_holds_until_it_is_edited(tmp_path: Path) -> None:
    path, gone, unseen = (str(tmp_path / name) for name in ("a.h", "gone.h", "unseen.h"))
    Path(path).write_bytes(b"one")
    Path(unseen).write_bytes(b"old")
    index = StatIndex()
    index.digest(path), index.digest(gone)
    later = time.time_ns() + 10**9
    assert index.held_since(path, later), "it is as it was digested"
    assert not index.held_since(path, 0), "it changed since, and was digested after that"
    assert index.held_since(unseen, later) and not index.held_since(unseen, 0)
    assert index.held_since(gone, later), "it was absent and still is"
    assert not index.held_since(str(tmp_path / "never.h"), later)
    Path(gone).write_bytes(b"came")
    assert not index.held_since(gone, later), "it was absent when it was digested"
    os.unlink(path)
    assert not index.held_since(path, later)


def test_a_folder_that_was_taken_for_a_file_holds(tmp_path: Path) -> None:
    index = StatIndex()
    assert index.digest(str(tmp_path)) is None
    assert index.held_since(str(tmp_path), time.time_ns() + 10**9)


def test_rows_are_stats_at_the_time_of_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "a.h"
    path.write_bytes(b"one")
    row = stat_row(path)
    index = StatIndex()
    index.digest(str(path))
    path.write_bytes(b"twoo")
    assert index.rows() == {str(path): row}
