"""The store on disk: kills, full disks, other file systems."""

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aot_build.core.artifact import Artifact
from aot_build.core.result import ActionResult
from aot_build.core.store import ChangedOutput
from aot_build.core.trace import Trace
from aot_build.digest import key_digest
from aot_build.store import local
from aot_build.store.local import LocalStore

BASE, KEY, TRACE = "b" * 32, "c" * 32, Trace(files=("{project}/a.h",))


# Nothing half-written is visible


def test_before_the_flush_nothing_is_visible(cache: Any, tmp_path: Path) -> None:
    store = LocalStore(cache.root)
    store.publish(BASE, TRACE, KEY, cache.left(), cache.out)
    other = LocalStore(cache.root)
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
    cache: Any, tmp_path: Path, fresh_python: Callable[..., str], step: int
) -> None:
    """Two blobs, a trace, a list of traces, a result: the last rename makes it visible."""
    (tmp_path / "cache").mkdir()
    fresh_python(PUBLISH, tmp_path, str(step), status=0 if step == 6 else 9)
    store = LocalStore(cache.root)
    assert (store.result(KEY) is not None) == (step == 6)
    for trace_id in store.traces(BASE):
        assert store.trace(trace_id) == TRACE
    assert not (store.root / "set-aside").exists()
    result = cache.left()
    store.publish(BASE, TRACE, KEY, result, cache.out)
    store.flush()
    assert LocalStore(cache.root).result(KEY) == result


def test_a_group_becomes_visible_by_itself(
    cache: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "GROUP", 2)
    store = LocalStore(cache.root)
    for number in range(3):
        key = f"{number:032}"
        store.publish(key, TRACE, key, cache.left(b"%d" % number), cache.out)
    other = LocalStore(cache.root)
    assert [other.result(f"{n:032}") is not None for n in range(3)] == [True, True, False]


# Where outputs come from


def test_a_blob_from_another_file_system(cache: Any, tmp_path: Path) -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        cache.out = Path(folder)
        store = LocalStore(cache.root)
        result = cache.left()
        cache.publish(store, result)
        assert LocalStore(store.root).result(KEY) == result
        assert store.fetch(result.artifacts[0].digest, tmp_path / "place")


def test_bytes_that_change_while_they_are_stored_are_refused(
    cache: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def across(source: object, target: object) -> None:
        raise OSError(errno.EXDEV, "another device")

    monkeypatch.setattr(os, "rename", across)
    store = LocalStore(cache.root)
    result = cache.left()
    (cache.out / "k.so").write_bytes(b"THE BYTES OF A KERNEL")
    with pytest.raises(ChangedOutput, match=r"'k\.so' changed while it was being stored"):
        store.publish(BASE, TRACE, KEY, result, cache.out)
    store.flush()
    assert LocalStore(store.root).result(KEY) is None and not cache.blob(result).exists()


def test_an_output_that_is_gone_is_no_full_disk(cache: Any) -> None:
    store = LocalStore(cache.root)
    result = cache.left()
    (cache.out / "k.so").unlink()
    with pytest.raises(ChangedOutput):
        store.publish(BASE, TRACE, KEY, result, cache.out)
    store.flush()
    assert LocalStore(store.root).result(KEY) is None


def test_what_was_moved_comes_back_where_another_artifact_changed(cache: Any) -> None:
    store = LocalStore(cache.root)
    one = cache.left().artifacts[0]
    gone = Artifact("gone.so", "0" * 64, 3)
    with pytest.raises(ChangedOutput):
        store.publish(BASE, TRACE, KEY, ActionResult((one, gone)), cache.out)
    assert (cache.out / "k.so").exists()


def test_blobs_are_for_whoever_shares_the_cache(cache: Any) -> None:
    store = LocalStore(cache.root)
    result = cache.left()
    (cache.out / "k.so").chmod(0o600)
    cache.publish(store, result)
    assert cache.blob(result).stat().st_mode & 0o777 == 0o644


def test_an_output_with_a_second_name_is_copied(cache: Any, tmp_path: Path) -> None:
    """A compiler's own cache may link its outputs: writing there must not reach the CAS."""
    store = LocalStore(cache.root)
    result = cache.left()
    os.link(cache.out / "k.so", tmp_path / "compiler-cache")
    store.publish(BASE, TRACE, KEY, result, cache.out)
    with open(tmp_path / "compiler-cache", "r+b") as stream:
        stream.write(b"XXX")
    assert store.fetch(result.artifacts[0].digest, tmp_path / "place")


def test_what_cannot_be_published_can_be_published_elsewhere(
    cache: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk shows when the trace is written: the blobs have been moved by then."""
    full, roomy = LocalStore(tmp_path / "full"), LocalStore(tmp_path / "roomy")
    result = cache.left()

    def no_room(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(local, "write_atomic", no_room)
        with pytest.raises(OSError, match="no space"):
            full.publish(BASE, TRACE, KEY, result, cache.out)
    roomy.publish(BASE, TRACE, KEY, result, cache.out)
    roomy.flush()
    assert roomy.result(KEY) == result
    assert roomy.fetch(result.artifacts[0].digest, tmp_path / "place")


def test_a_cache_that_is_removed_meanwhile_is_a_miss(cache: Any, tmp_path: Path) -> None:
    import shutil

    store = LocalStore(cache.root)
    store.publish(BASE, TRACE, KEY, cache.left(), cache.out)
    shutil.rmtree(store.root)
    store.flush()
    assert LocalStore(store.root).result(KEY) is None
    result = cache.left()
    store.publish(BASE, TRACE, KEY, result, cache.out)
    store.flush()
    assert LocalStore(store.root).result(KEY) == result


def test_a_folder_that_cannot_be_a_cache_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError):
        LocalStore(tmp_path / "file" / "cache")


def test_the_cache_is_tagged_and_has_a_versioned_layout(cache: Any, tmp_path: Path) -> None:
    store, result = cache.published()
    digest, trace_id = result.artifacts[0].digest, key_digest(TRACE)
    assert cache.files() == sorted(
        [
            "CACHEDIR.TAG",
            f"actions-v1/{KEY[:2]}/{KEY}",
            f"cas-v1/{digest[:2]}/{digest}",
            "leases-v1",
            f"traces-v2/{BASE[:2]}/{BASE}",
            f"traces-v2/{trace_id[:2]}/{trace_id}.t",
        ]
    )
    assert (store.root / "leases-v1").stat().st_size == 0
    tag = (store.root / "CACHEDIR.TAG").read_text()
    assert tag.startswith("Signature: 8a477f597d28d172789f06886806bc55")


def test_few_traces_are_kept_for_a_base_key(cache: Any, tmp_path: Path) -> None:
    store = LocalStore(cache.root)
    traces = [Trace(files=(f"{{project}}/{n}.h",)) for n in range(local.TRACES_KEPT + 3)]
    for number, trace in enumerate(traces):
        store.publish(BASE, trace, f"{number:032}", ActionResult(()), tmp_path)
        store.flush()
    newest = [key_digest(trace) for trace in traces[::-1]][: local.TRACES_KEPT]
    assert list(store.traces(BASE)) == newest
