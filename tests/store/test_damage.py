"""Damage is a miss, and set aside: nothing damaged is ever placed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aot_build.core.trace import Trace
from aot_build.digest import key_digest
from aot_build.files import write_atomic
from aot_build.store.local import FOLDERS, LocalStore
from aot_build.store.records import encode_record

BASE, KEY, TRACE = "b" * 32, "c" * 32, Trace(files=("{project}/a.h",))


def flip(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "flipped": flip,
    "flipped digest": lambda path: flip(path, 0),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "garbage": lambda path: path.write_bytes(b"\x80\x04]\x94."),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["actions", "traces"])
def test_a_damaged_record_is_a_miss_and_set_aside(
    cache: Any, tmp_path: Path, kind: str, damage: str
) -> None:
    store, _ = cache.published()
    name = KEY if kind == "actions" else BASE
    path = store.root / FOLDERS[kind] / name[:2] / name
    DAMAGES[damage](path)
    if kind == "actions":
        assert store.result(KEY) is None
    else:
        assert list(store.traces(BASE)) == []
    assert not path.exists() and len(os.listdir(store.root / "set-aside")) == 1
    assert list(store.traces(BASE)) == ([key_digest(TRACE)] if kind == "actions" else [])


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_trace_is_a_miss_and_set_aside(cache: Any, tmp_path: Path, damage: str) -> None:
    store, result = cache.published()
    trace_id = key_digest(TRACE)
    DAMAGES[damage](store.root / "traces-v2" / trace_id[:2] / f"{trace_id}.t")
    assert store.trace(trace_id) is None
    assert len(os.listdir(store.root / "set-aside")) == 1
    store.publish(BASE, TRACE, KEY, cache.left(), cache.out)
    store.flush()
    assert LocalStore(store.root).trace(trace_id) == TRACE
    assert store.result(KEY) == result


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_blob_is_never_placed(cache: Any, tmp_path: Path, damage: str) -> None:
    store, result = cache.published()
    DAMAGES[damage](cache.blob(result))
    same_size = damage.startswith("flipped")
    assert (store.result(KEY) is not None) == same_size, "the size tells of all the others"
    assert not store.fetch(result.artifacts[0].digest, tmp_path / "place")
    assert not (tmp_path / "place").exists()
    assert store.result(KEY) is None and len(os.listdir(store.root / "set-aside")) == 1
    store.publish(BASE, TRACE, KEY, cache.left(), cache.out)
    assert store.fetch(result.artifacts[0].digest, tmp_path / "place")


@pytest.mark.parametrize("damage", DAMAGES)
def test_whoever_has_the_bytes_again_mends_a_damaged_blob(
    cache: Any, tmp_path: Path, damage: str
) -> None:
    store, result = cache.published()
    (artifact,) = result.artifacts
    DAMAGES[damage](store.root / "cas-v1" / artifact.digest[:2] / artifact.digest)
    store.publish(BASE, TRACE, KEY, cache.left(), cache.out)
    store.flush()
    assert LocalStore(store.root).fetch(artifact.digest, tmp_path / "placed")


def test_a_missing_blob_is_a_miss(cache: Any, tmp_path: Path) -> None:
    store, result = cache.published()
    cache.blob(result).unlink()
    assert store.result(KEY) is None
    assert not store.fetch(result.artifacts[0].digest, tmp_path / "place")
    assert not (store.root / "set-aside").exists()


def test_a_folder_in_the_place_of_a_blob_is_a_miss(cache: Any, tmp_path: Path) -> None:
    store, result = cache.published()
    cache.blob(result).unlink()
    cache.blob(result).mkdir()
    assert not store.fetch(result.artifacts[0].digest, tmp_path / "place")
    store.publish(BASE, TRACE, KEY, cache.left(), cache.out)
    assert store.fetch(result.artifacts[0].digest, tmp_path / "place")


def test_records_of_another_shape_are_a_miss(cache: Any, tmp_path: Path) -> None:
    store, _ = cache.published()
    write_atomic(store.root / "actions-v1" / KEY[:2] / KEY, encode_record({"artifacts": 3}))
    assert store.result(KEY) is None


def test_a_place_that_cannot_be_written_is_an_error_and_no_damage(
    cache: Any, tmp_path: Path
) -> None:
    store, result = cache.published()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError):
        store.fetch(result.artifacts[0].digest, tmp_path / "file" / "place")
    assert store.result(KEY) == result
