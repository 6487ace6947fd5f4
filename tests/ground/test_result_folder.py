"""The result folder: exactly what was built, whatever lay there before."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from aot_build.core.artifact import Artifact
from aot_build.core.kernel import KernelSpec, Variant
from aot_build.core.manifest import Entry, place
from aot_build.core.result import ActionResult
from aot_build.core.target import Target
from aot_build.core.toolchain import Toolchain
from aot_build.core.trace import Trace
from aot_build.files import write_atomic
from aot_build.layout import MANIFEST, RUNTIME
from aot_build.materialize import DamagedBlobs, ResultFolder
from aot_build.store.local import LocalStore

SPEC = KernelSpec("scale", "cpp", ("a.cpp",), (Target("cpu"),))


class Results:
    """A store, and builds that fill a result folder out of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = LocalStore(root / "cache")
        self.path = root / "aot" / "demo" / "sub" / "_aot"

    def entry(self, block: int, files: Mapping[str, bytes] | None = None) -> Entry:
        files = files or {"scale.so": b"%d" % block * 9}
        made, out = [], Path(tempfile.mkdtemp(dir=self.root))
        for name, content in files.items():
            write_atomic(out / name, content)
            made.append(Artifact(name, hashlib.sha256(content).hexdigest(), len(content)))
        self.store.publish("b", Trace(), None, ActionResult(tuple(made)), out)
        variant = Variant(SPEC, (("BLOCK", block),), Target("cpu"))
        return Entry(variant, Toolchain("g++", "12", "d" * 32), tuple(made))

    def fill(self, *entries: Entry) -> ResultFolder:
        folder = ResultFolder(self.root / "aot", "demo.sub")
        folder.fill(list(entries), self.store, "release", "test")
        return folder

    def files(self) -> dict[str, bytes]:
        found = (p for p in self.path.rglob("*") if p.is_file() or p.is_symlink())
        return {str(p.relative_to(self.path)): p.read_bytes() for p in found}

    def states(self) -> dict[str, tuple[int, int]]:
        paths = {name: os.stat(self.path / name) for name in self.files()}
        return {name: (s.st_ino, s.st_mtime_ns) for name, s in paths.items()}

    def blob(self, artifact: Artifact) -> Path:
        return self.store.root / "cas-v1" / artifact.digest[:2] / artifact.digest


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path)


def only(entry: Entry) -> str:
    (name,) = place(entry.variant, entry.artifacts).values()
    return name


def test_blobs_manifest_and_runtime(results: Results) -> None:
    entry = results.entry(64)
    results.fill(entry)
    files = results.files()
    assert set(files) == {only(entry), MANIFEST, *RUNTIME}
    assert files[only(entry)] == b"64" * 9
    told = json.loads(files["manifest.json"])
    assert told["package"] == "demo.sub" and told["mode"] == "release"
    assert told["kernels"]["scale"]["variants"][0]["files"]["scale.so"]["path"] == only(entry)
    assert (results.path / only(entry)).stat().st_mode & 0o777 == 0o644


def test_nothing_is_written_twice(results: Results) -> None:
    entries = results.entry(64), results.entry(128, {"a": b"1", "deep/b": b"2"})
    results.fill(*entries)
    before = results.states()
    results.fill(*entries)
    assert results.states() == before


def test_what_no_longer_belongs_there_goes(results: Results) -> None:
    one, two = results.entry(64), results.entry(128, {"a": b"1", "deep/b": b"2"})
    results.fill(one, two)
    kept = results.states()[only(one)]
    write_atomic(results.path / "scale" / "cpu" / "__pycache__" / "x.pyc", b"")
    write_atomic(results.path / ".manifest.json.abc.tmp", b"half")
    (results.path / "loose").symlink_to("/etc/hostname")
    (results.path / "loose folder").symlink_to("/etc")
    results.fill(one)
    assert set(results.files()) == {only(one), MANIFEST, *RUNTIME}
    assert sorted(os.listdir(results.path / "scale" / "cpu")) == [os.path.basename(only(one))]
    assert not (results.path / "loose folder").is_symlink() and os.path.exists("/etc")
    assert results.states()[only(one)] == kept


@pytest.mark.parametrize("empty", [True, False])
def test_a_build_of_nothing_leaves_only_the_manifest(results: Results, empty: bool) -> None:
    if not empty:
        results.fill(results.entry(64))
    results.fill()
    assert set(results.files()) == {MANIFEST, *RUNTIME}


SHAPES: dict[str, dict[str, bytes]] = {
    "one": {"a": b"one"},
    "two": {"a": b"1", "b": b"2"},
    "a is a folder": {"a/x": b"1", "b": b"2"},
    "a/x is a folder": {"a/x/y": b"1", "a/z": b"2"},
    "a is deep": {"a/b/c/d": b"1", "b": b"2"},
}


@pytest.mark.parametrize("after", SHAPES)
@pytest.mark.parametrize("before", SHAPES)
def test_files_become_folders_and_folders_files(results: Results, before: str, after: str) -> None:
    results.fill(results.entry(64, SHAPES[before]))
    entry = results.entry(64, SHAPES[after])
    results.fill(entry)
    places = place(entry.variant, entry.artifacts)
    expected = {places[name]: content for name, content in SHAPES[after].items()}
    files = results.files()
    for name in (MANIFEST, *RUNTIME):
        del files[name]
    assert files == expected


@pytest.mark.parametrize("tamper", ["content", "same size", "gone", "folder", "link", "parent"])
def test_a_tampered_output_is_repaired(results: Results, tamper: str) -> None:
    entry = results.entry(64)
    results.fill(entry)
    path = results.path / only(entry)
    if tamper == "content":
        path.write_bytes(b"stripped")
    elif tamper == "same size":
        path.write_bytes(b"46" * 9)
    elif tamper == "parent":
        path.unlink(), path.parent.rmdir()
        path.parent.symlink_to(results.root)
    else:
        path.unlink()
        if tamper == "folder":
            write_atomic(path / "inside", b"")
        if tamper == "link":
            path.symlink_to("/etc/hostname")
    results.fill(entry)
    assert path.read_bytes() == b"64" * 9 and not path.is_symlink()
    assert not path.parent.is_symlink()


def test_a_missing_manifest_and_runtime_come_back(results: Results) -> None:
    entry = results.entry(64)
    results.fill(entry)
    before = results.files()
    for name in (MANIFEST, *RUNTIME):
        (results.path / name).write_bytes(b"{}")
    results.fill(entry)
    assert results.files() == before


def test_a_damaged_blob_names_its_results_and_leaves_no_manifest(results: Results) -> None:
    good, bad = results.entry(64), results.entry(128)
    results.fill(good)
    results.blob(bad.artifacts[0]).write_bytes(b"BAD" * 9)
    with pytest.raises(DamagedBlobs) as caught:
        results.fill(good, bad)
    assert caught.value.entries == [bad]
    assert "manifest.json" not in results.files(), "a folder without one is unfinished"
    again = results.entry(128)
    results.fill(good, again)
    assert results.files()[only(again)] == b"128" * 9


def test_a_lost_index_costs_only_copying(results: Results) -> None:
    entry = results.entry(64)
    results.fill(entry)
    before = results.files()
    (results.root / "aot" / "outputs-v1").write_bytes(b"garbage")
    results.fill(entry)
    assert results.files() == before


def test_rows_for_the_snapshot(results: Results) -> None:
    entry = results.entry(64)
    rows = dict(results.fill(entry).rows())
    assert set(rows) == {only(entry), MANIFEST, *RUNTIME}
    for name, row in rows.items():
        found = os.stat(results.path / name)
        assert row == (found.st_ino, found.st_size, found.st_mtime_ns)
