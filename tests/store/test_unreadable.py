"""What cannot be read just now is a miss, and is not condemned: others may read it."""

import errno
import io
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aot_build.core.trace import Trace
from aot_build.digest import key_digest
from aot_build.store.local import LocalStore

BASE, KEY, TRACE = "b" * 32, "c" * 32, Trace(files=("{project}/a.h",))


@contextmanager
def no_descriptors() -> Iterator[None]:
    """The process may open no further file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class FailingDisk(io.RawIOBase):
    """Opens, and cannot be read: a bad sector."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raise OSError(errno.EIO, "Input/output error")


def refuse(path: Path) -> Callable[..., Any]:
    def opening(name: Any, *args: Any, **kwargs: Any) -> Any:
        if Path(name) == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open(name, *args, **kwargs)

    return opening


def fail(path: Path) -> Callable[..., Any]:
    def opening(name: Any, *args: Any, **kwargs: Any) -> Any:
        return FailingDisk() if Path(name) == path else open(name, *args, **kwargs)

    return opening


def test_without_descriptors_a_blob_is_a_miss_and_stays(cache: Any, tmp_path: Path) -> None:
    store, result = cache.published()
    digest = result.artifacts[0].digest
    with no_descriptors():
        assert not store.fetch(digest, tmp_path / "place")
    assert cache.blob(result).exists() and not (store.root / "set-aside").exists()
    assert LocalStore(store.root).fetch(digest, tmp_path / "place")


def test_without_descriptors_a_record_is_a_miss_and_stays(cache: Any) -> None:
    store, result = cache.published()
    with no_descriptors():
        assert store.result(KEY) is None
        assert list(store.traces(BASE)) == []
        assert store.trace(key_digest(TRACE)) is None
    assert not (store.root / "set-aside").exists()
    assert store.result(KEY) == result and list(store.traces(BASE)) == [key_digest(TRACE)]


@pytest.mark.parametrize("failing", [refuse, fail], ids=["EACCES", "EIO"])
def test_an_unreadable_blob_is_a_miss_until_it_is_published_again(
    cache: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: Any
) -> None:
    store, result = cache.published()
    digest, blob = result.artifacts[0].digest, cache.blob(result)
    old = os.stat(blob).st_ino
    with monkeypatch.context() as patched:
        for module in ("aot_build.files", "aot_build.digest"):
            patched.setattr(f"{module}.open", failing(blob), raising=False)
        assert not store.fetch(digest, tmp_path / "place")
    assert blob.exists() and not (store.root / "set-aside").exists()
    assert store.result(KEY) is None, "it would be planned as a hit, and could not be placed"
    store.publish(BASE, TRACE, KEY, cache.left(), cache.out)
    store.flush()
    assert os.stat(blob).st_ino != old, "what cannot be read is replaced"
    assert store.result(KEY) == result and store.fetch(digest, tmp_path / "place")


def test_a_failing_place_is_no_fault_of_the_blob(
    cache: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, result = cache.published()

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fchmod", full)
        with pytest.raises(OSError, match="No space left"):
            store.fetch(result.artifacts[0].digest, tmp_path / "place")
    assert store.result(KEY) == result


def test_an_unreadable_trace_is_written_again(cache: Any) -> None:
    store, _ = cache.published()
    trace_id = key_digest(TRACE)
    path = store.root / "traces-v2" / trace_id[:2] / f"{trace_id}.t"
    old = os.stat(path).st_ino
    with no_descriptors():
        assert store.trace(trace_id) is None
    cache.publish(store, cache.left())
    assert os.stat(path).st_ino != old and store.trace(trace_id) == TRACE
