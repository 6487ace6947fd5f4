"""One contract for every store."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from aot_build.core.artifact import Artifact
from aot_build.core.result import ActionResult
from aot_build.core.trace import Trace
from aot_build.digest import key_digest
from aot_build.store.local import LocalStore
from aot_build.store.memory import MemoryStore
from aot_build.store.tiered import Tiered

Store = LocalStore | MemoryStore | Tiered
MAKERS: dict[str, Callable[[Path], Store]] = {
    "local": LocalStore,
    "memory": lambda root: MemoryStore(),
    "tiered": lambda root: Tiered(LocalStore(root / "near"), LocalStore(root / "far")),
    "tiered on memory": lambda root: Tiered(MemoryStore(), LocalStore(root)),
}
BASE, KEY, TRACE = "b" * 32, "c" * 32, Trace(files=("{project}/a.h",), env=("HOME",))


@pytest.fixture(params=MAKERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MAKERS[request.param](tmp_path / "cache")


def left(folder: Path, **contents: bytes) -> ActionResult:
    """An output folder as an action leaves it, and its result."""
    folder.mkdir(parents=True, exist_ok=True)
    artifacts = []
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        artifacts.append(Artifact(name, hashlib.sha256(content).hexdigest(), len(content)))
    return ActionResult(tuple(artifacts), {"shared": 3, "args": ["a"]}, 1.5, 7)


def test_what_is_published_is_found(store: Store, tmp_path: Path) -> None:
    result = left(tmp_path / "out", a=b"first", b=b"second")
    store.publish(BASE, TRACE, KEY, result, tmp_path / "out")
    store.flush()
    assert store.result(KEY) == result
    (trace_id,) = store.traces(BASE)
    assert trace_id == key_digest(TRACE) and store.trace(trace_id) == TRACE
    for artifact in result.artifacts:
        assert store.fetch(artifact.digest, tmp_path / "place" / artifact.name)
    assert (tmp_path / "place" / "b").read_bytes() == b"second"


def test_an_empty_store_has_nothing(store: Store, tmp_path: Path) -> None:
    assert store.result(KEY) is None and store.trace("0" * 32) is None
    assert list(store.traces(BASE)) == []
    assert not store.fetch("0" * 64, tmp_path / "place")
    assert not (tmp_path / "place").exists()
    store.flush()


def test_the_newest_trace_comes_first(store: Store, tmp_path: Path) -> None:
    other = Trace(files=("{project}/b.h",))
    for number, trace in enumerate((TRACE, other, TRACE)):
        result = left(tmp_path / str(number), a=b"%d" % number)
        store.publish(BASE, trace, f"{number:032}", result, tmp_path / str(number))
        store.flush()
    assert list(store.traces(BASE)) == [key_digest(TRACE), key_digest(other)]


def test_without_a_key_only_blobs_are_kept(store: Store, tmp_path: Path) -> None:
    result = left(tmp_path / "out", a=b"kept")
    store.publish(BASE, TRACE, None, result, tmp_path / "out")
    store.flush()
    assert store.fetch(result.artifacts[0].digest, tmp_path / "place")
    assert list(store.traces(BASE)) == [] and store.result(KEY) is None


def test_outputs_of_equal_bytes_are_one_blob(store: Store, tmp_path: Path) -> None:
    result = left(tmp_path / "out", a=b"same", b=b"same", c=b"")
    store.publish(BASE, TRACE, KEY, result, tmp_path / "out")
    store.flush()
    assert store.result(KEY) == result
    assert store.fetch(result.artifacts[2].digest, tmp_path / "place")


def test_a_placed_file_is_a_copy(store: Store, tmp_path: Path) -> None:
    result = left(tmp_path / "out", a=b"bytes")
    digest = result.artifacts[0].digest
    store.publish(BASE, TRACE, KEY, result, tmp_path / "out")
    for name in ("one", "two"):
        assert store.fetch(digest, tmp_path / name)
        with open(tmp_path / name, "r+b") as stream:
            stream.write(b"BYTES")
    assert store.fetch(digest, tmp_path / "three")
    assert (tmp_path / "three").read_bytes() == b"bytes"


def test_a_later_result_takes_the_place_of_an_earlier(store: Store, tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        result = left(tmp_path / "out", a=content)
        store.publish(BASE, TRACE, KEY, result, tmp_path / "out")
        store.flush()
    assert store.result(KEY) == result


def test_odd_texts_come_back(store: Store, tmp_path: Path) -> None:
    trace = Trace(files=("{project}/ü b\n\\c.h",), env=("ß",))
    result = ActionResult((), {"text": "\x00\u2028 é", "none": None, "deep": {"x": [1.5, True]}})
    store.publish(BASE, trace, KEY, result, tmp_path)
    store.flush()
    assert store.result(KEY) == result
    assert store.trace(store.traces(BASE)[0]) == trace


# Tiers


def test_later_tiers_are_only_read(tmp_path: Path) -> None:
    near, far = LocalStore(tmp_path / "near"), LocalStore(tmp_path / "far")
    result = left(tmp_path / "out", a=b"far away")
    far.publish(BASE, TRACE, KEY, result, tmp_path / "out")
    far.flush()
    stacked = Tiered(near, far)
    assert stacked.result(KEY) == result
    assert stacked.fetch(result.artifacts[0].digest, tmp_path / "place")
    before = sorted(p for p in far.root.rglob("*") if p.is_file())
    stacked.publish(BASE, Trace(), "d" * 32, left(tmp_path / "out", b=b"new"), tmp_path / "out")
    stacked.flush()
    assert sorted(p for p in far.root.rglob("*") if p.is_file()) == before
    assert list(stacked.traces(BASE)) == [key_digest(Trace()), key_digest(TRACE)]


def test_a_damaged_tier_is_passed_over(tmp_path: Path) -> None:
    tiers = [LocalStore(tmp_path / name) for name in ("near", "far")]
    for tier in tiers:
        result = left(tmp_path / "out", a=b"bytes")
        tier.publish(BASE, TRACE, KEY, result, tmp_path / "out")
        tier.flush()
    digest = result.artifacts[0].digest
    (tiers[0].root / "cas-v1" / digest[:2] / digest).write_bytes(b"BYTES")
    stacked = Tiered(*tiers)
    assert stacked.fetch(digest, tmp_path / "place")
    assert (tmp_path / "place").read_bytes() == b"bytes"
    assert len(os.listdir(tiers[0].root / "set-aside")) == 1
