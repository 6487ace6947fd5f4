"""The store on disk: kills, damage, full disks, several builds at once."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aot_build.core.artifact import Artifact
from aot_build.core.result import ActionResult
from aot_build.core.trace import Trace
from aot_build.digest import key_digest
from aot_build.files import write_atomic
from aot_build.store import local
from aot_build.store.local import LocalStore

BASE, KEY, TRACE = "b" * 32, "c" * 32, Trace(files=("{project}/a.h",))
BYTES = b"the bytes of a kernel"


def out(folder: Path, content: bytes = BYTES) -> ActionResult:
    from hashlib import sha256

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "k.so").write_bytes(content)
    return ActionResult((Artifact("k.so", sha256(content).hexdigest(), len(content)),))


def published(root: Path) -> tuple[LocalStore, ActionResult]:
    store = LocalStore(root / "cache")
    result = out(root / "out")
    store.publish(BASE, TRACE, KEY, result, root / "out")
    store.flush()
    return LocalStore(root / "cache"), result


def blob(store: LocalStore, result: ActionResult) -> Path:
    digest = result.artifacts[0].digest
    return store.root / "cas-v1" / digest[:2] / digest


def everything(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


# Nothing half-written is visible


def test_before_the_flush_nothing_is_visible(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "cache")
    store.publish(BASE, TRACE, KEY, out(tmp_path / "out"), tmp_path / "out")
    other = LocalStore(tmp_path / "cache")
    assert other.result(KEY) is None and list(other.traces(BASE)) == []
    store.flush()
    assert other.result(KEY) is not None


PUBLISH = """
import os, sys
from pathlib import Path
root, step = Path(sys.argv[1]), int(sys.argv[2])
steps = 0
def dying(original):
    def call(*args, **kwargs):
        global steps
        if str(root / "cache") in str(args[-1]):
            steps += 1
            if steps == step:
                os._exit(9)
        return original(*args, **kwargs)
    return call
from aot_build.core.artifact import Artifact
from aot_build.core.result import ActionResult
from aot_build.core.trace import Trace
from aot_build.digest import blob_digest
from aot_build.store.local import LocalStore
store = LocalStore(root / "cache")
os.rename, os.replace, os.mkdir = dying(os.rename), dying(os.replace), dying(os.mkdir)
for name in ("one", "two"):
    (root / name).write_bytes(name.encode() * 100)
names = [Artifact(n, blob_digest(root / n), (root / n).stat().st_size) for n in ("one", "two")]
result = ActionResult(tuple(names))
store.publish("b" * 32, Trace(files=("{project}/a.h",)), "c" * 32, result, root)
store.flush()
"""


@pytest.mark.parametrize("step", range(1, 7))
def test_killed_between_the_writes_it_is_a_clean_miss(
    tmp_path: Path, fresh_python: Callable[..., str], step: int
) -> None:
    """Two blobs, a trace, a list of traces, a result: the last rename makes it visible."""
    (tmp_path / "cache").mkdir()
    fresh_python(PUBLISH, tmp_path, str(step), status=0 if step == 6 else 9)
    store = LocalStore(tmp_path / "cache")
    assert (store.result(KEY) is not None) == (step == 6)
    for trace_id in store.traces(BASE):
        assert store.trace(trace_id) == TRACE
    assert not (store.root / "set-aside").exists()
    result = out(tmp_path / "again")
    store.publish(BASE, TRACE, KEY, result, tmp_path / "again")
    store.flush()
    assert LocalStore(tmp_path / "cache").result(KEY) == result


def test_a_group_becomes_visible_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "GROUP", 2)
    store = LocalStore(tmp_path / "cache")
    for number in range(3):
        key = f"{number:032}"
        store.publish(key, TRACE, key, out(tmp_path / "out", b"%d" % number), tmp_path / "out")
    other = LocalStore(tmp_path / "cache")
    assert [other.result(f"{n:032}") is not None for n in range(3)] == [True, True, False]


# Damage is a miss, and set aside


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
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["actions", "traces"])
def test_a_damaged_record_is_a_miss_and_set_aside(tmp_path: Path, kind: str, damage: str) -> None:
    store, _ = published(tmp_path)
    name = KEY if kind == "actions" else BASE
    path = store.root / f"{kind}-v1" / name[:2] / name
    DAMAGES[damage](path)
    if kind == "actions":
        assert store.result(KEY) is None
    else:
        assert list(store.traces(BASE)) == []
    assert not path.exists() and len(os.listdir(store.root / "set-aside")) == 1
    assert list(store.traces(BASE)) == ([key_digest(TRACE)] if kind == "actions" else [])


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_trace_is_a_miss_and_set_aside(tmp_path: Path, damage: str) -> None:
    store, result = published(tmp_path)
    trace_id = key_digest(TRACE)
    DAMAGES[damage](store.root / "traces-v1" / trace_id[:2] / f"{trace_id}.t")
    assert store.trace(trace_id) is None
    assert len(os.listdir(store.root / "set-aside")) == 1
    store.publish(BASE, TRACE, KEY, out(tmp_path / "out"), tmp_path / "out")
    store.flush()
    assert LocalStore(store.root).trace(trace_id) == TRACE
    assert store.result(KEY) == result


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_blob_is_never_placed(tmp_path: Path, damage: str) -> None:
    store, result = published(tmp_path)
    DAMAGES[damage](blob(store, result))
    same_size = damage.startswith("flipped")
    assert (store.result(KEY) is not None) == same_size, "the size tells of all the others"
    assert not store.fetch(result.artifacts[0].digest, tmp_path / "place")
    assert not (tmp_path / "place").exists()
    assert store.result(KEY) is None and len(os.listdir(store.root / "set-aside")) == 1
    store.publish(BASE, TRACE, KEY, out(tmp_path / "out"), tmp_path / "out")
    assert store.fetch(result.artifacts[0].digest, tmp_path / "place")


def test_a_missing_blob_is_a_miss(tmp_path: Path) -> None:
    store, result = published(tmp_path)
    blob(store, result).unlink()
    assert store.result(KEY) is None
    assert not store.fetch(result.artifacts[0].digest, tmp_path / "place")
    assert not (store.root / "set-aside").exists()


def test_a_folder_in_the_place_of_a_blob_is_a_miss(tmp_path: Path) -> None:
    store, result = published(tmp_path)
    blob(store, result).unlink()
    blob(store, result).mkdir()
    assert not store.fetch(result.artifacts[0].digest, tmp_path / "place")
    store.publish(BASE, TRACE, KEY, out(tmp_path / "out"), tmp_path / "out")
    assert store.fetch(result.artifacts[0].digest, tmp_path / "place")


def test_records_of_another_shape_are_a_miss(tmp_path: Path) -> None:
    from aot_build.store.records import encode_record

    store, _ = published(tmp_path)
    write_atomic(store.root / "actions-v1" / KEY[:2] / KEY, encode_record({"artifacts": 3}))
    assert store.result(KEY) is None


def test_a_place_that_cannot_be_written_is_an_error_and_no_damage(tmp_path: Path) -> None:
    store, result = published(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError):
        store.fetch(result.artifacts[0].digest, tmp_path / "file" / "place")
    assert store.result(KEY) == result


# Where outputs come from


def test_a_blob_from_another_file_system(tmp_path: Path) -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    folder = shared / f"aot-build-test-{os.getpid()}"
    try:
        store = LocalStore(tmp_path / "cache")
        result = out(folder)
        store.publish(BASE, TRACE, KEY, result, folder)
        store.flush()
        assert LocalStore(store.root).result(KEY) == result
        assert store.fetch(result.artifacts[0].digest, tmp_path / "place")
    finally:
        for name in os.listdir(folder):
            (folder / name).unlink()
        folder.rmdir()


def test_bytes_that_change_while_they_are_stored_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def across(source: object, target: object) -> None:
        raise OSError(errno.EXDEV, "another device")

    monkeypatch.setattr(os, "rename", across)
    store = LocalStore(tmp_path / "cache")
    result = out(tmp_path / "out")
    (tmp_path / "out" / "k.so").write_bytes(b"THE BYTES OF A KERNEL")
    with pytest.raises(OSError, match="changed while it was being stored"):
        store.publish(BASE, TRACE, KEY, result, tmp_path / "out")
    store.flush()
    assert LocalStore(store.root).result(KEY) is None and not blob(store, result).exists()


def test_an_output_with_a_second_name_is_copied(tmp_path: Path) -> None:
    """A compiler's own cache may link its outputs: writing there must not reach the CAS."""
    store = LocalStore(tmp_path / "cache")
    result = out(tmp_path / "out")
    os.link(tmp_path / "out" / "k.so", tmp_path / "compiler-cache")
    store.publish(BASE, TRACE, KEY, result, tmp_path / "out")
    with open(tmp_path / "compiler-cache", "r+b") as stream:
        stream.write(b"XXX")
    assert store.fetch(result.artifacts[0].digest, tmp_path / "place")


def test_what_cannot_be_published_can_be_published_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk shows when the trace is written: the blobs have been moved by then."""
    full, roomy = LocalStore(tmp_path / "full"), LocalStore(tmp_path / "roomy")
    result = out(tmp_path / "out")

    def no_room(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(local, "write_atomic", no_room)
        with pytest.raises(OSError, match="no space"):
            full.publish(BASE, TRACE, KEY, result, tmp_path / "out")
    roomy.publish(BASE, TRACE, KEY, result, tmp_path / "out")
    roomy.flush()
    assert roomy.result(KEY) == result
    assert roomy.fetch(result.artifacts[0].digest, tmp_path / "place")


def test_a_cache_that_is_removed_meanwhile_is_a_miss(tmp_path: Path) -> None:
    import shutil

    store = LocalStore(tmp_path / "cache")
    store.publish(BASE, TRACE, KEY, out(tmp_path / "out"), tmp_path / "out")
    shutil.rmtree(store.root)
    store.flush()
    assert LocalStore(store.root).result(KEY) is None
    result = out(tmp_path / "out")
    store.publish(BASE, TRACE, KEY, result, tmp_path / "out")
    store.flush()
    assert LocalStore(store.root).result(KEY) == result


def test_a_folder_that_cannot_be_a_cache_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError):
        LocalStore(tmp_path / "file" / "cache")


def test_the_cache_is_tagged_and_has_a_versioned_layout(tmp_path: Path) -> None:
    store, result = published(tmp_path)
    digest, trace_id = result.artifacts[0].digest, key_digest(TRACE)
    assert everything(store.root) == sorted(
        [
            "CACHEDIR.TAG",
            f"actions-v1/{KEY[:2]}/{KEY}",
            f"cas-v1/{digest[:2]}/{digest}",
            f"traces-v1/{BASE[:2]}/{BASE}",
            f"traces-v1/{trace_id[:2]}/{trace_id}.t",
        ]
    )
    tag = (store.root / "CACHEDIR.TAG").read_text()
    assert tag.startswith("Signature: 8a477f597d28d172789f06886806bc55")


def test_few_traces_are_kept_for_a_base_key(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "cache")
    traces = [Trace(files=(f"{{project}}/{n}.h",)) for n in range(local.TRACES_KEPT + 3)]
    for number, trace in enumerate(traces):
        store.publish(BASE, trace, f"{number:032}", ActionResult(()), tmp_path)
        store.flush()
    newest = [key_digest(trace) for trace in traces[::-1]][: local.TRACES_KEPT]
    assert list(store.traces(BASE)) == newest


# Several builds at once

PUBLISH_MANY = """
import sys
from pathlib import Path
from aot_build.core.artifact import Artifact
from aot_build.core.result import ActionResult
from aot_build.core.trace import Trace
from aot_build.digest import blob_digest
from aot_build.store.local import LocalStore
root, mine = Path(sys.argv[1]), Path(sys.argv[2])
store = LocalStore(root / "cache")
mine.mkdir()
for number in range(40):
    (mine / "k").write_bytes(b"%d" % number * 1000)
    found = Artifact("k", blob_digest(mine / "k"), (mine / "k").stat().st_size)
    key = f"{number:032}"
    store.publish(key, Trace(), key, ActionResult((found,)), mine)
    if number % 10 == 9:
        store.flush()
"""


def test_four_builds_publish_the_same_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PUBLISH_MANY, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(Path(local.__file__).parents[2])}
    builds = [subprocess.Popen([*command, str(tmp_path / f"out{n}")], env=env) for n in range(4)]
    assert [build.wait(30) for build in builds] == [0] * 4
    store = LocalStore(tmp_path / "cache")
    for number in range(40):
        result = store.result(f"{number:032}")
        assert result is not None
        assert store.fetch(result.artifacts[0].digest, tmp_path / "place")
        assert (tmp_path / "place").read_bytes() == b"%d" % number * 1000
    assert not (store.root / "set-aside").exists()
    assert len([p for p in everything(store.root) if p.startswith("cas-v1")]) == 40
    assert not [p for p in everything(store.root) if p.endswith(".tmp")]
