"""What an action left behind, before anybody relies on it."""

import os
from pathlib import Path

import pytest

from aot_build import outputs
from aot_build.core.artifact import Artifact
from aot_build.digest import blob_digest
from aot_build.files import write_atomic
from aot_build.outputs import OutputProblem, collect

NAMES = ("a.pkl", "b.txt", "deep/c.pkl", "deep/er/d.pkl", "deep/er/e.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        write_atomic(tmp_path / "out" / name, name.encode())
    return tmp_path / "out"


def names(folder: Path, *patterns: str) -> list[str]:
    return [artifact.name for artifact in collect(folder, patterns)]


def test_every_file_with_digest_and_size(folder: Path) -> None:
    found = collect(folder, ())
    assert [artifact.name for artifact in found] == list(NAMES)
    assert found[0] == Artifact("a.pkl", blob_digest(folder / "a.pkl"), 5)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["**/*.pkl"], ["a.pkl", "deep/c.pkl", "deep/er/d.pkl"]),
        (["*.pkl"], ["a.pkl"]),
        (["deep/*"], ["deep/c.pkl"]),
        (["deep/**"], ["deep/c.pkl", "deep/er/d.pkl", "deep/er/e.json"]),
        (["**/er/*"], ["deep/er/d.pkl", "deep/er/e.json"]),
        (["**/deep/**/*.pkl"], ["deep/c.pkl", "deep/er/d.pkl"]),
        (["*.txt", "**/e.json"], ["b.txt", "deep/er/e.json"]),
        (["[ab].*"], ["a.pkl", "b.txt"]),
        (["**"], list(NAMES)),
    ],
)
def test_patterns(folder: Path, patterns: list[str], expected: list[str]) -> None:
    assert names(folder, *patterns) == expected


def test_nothing_is_a_failure_that_names_the_patterns(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty" / "folder").mkdir(parents=True)
    with pytest.raises(OutputProblem, match="it left no file in its output folder") as caught:
        collect(tmp_path / "empty", ())
    assert caught.value.outcome == "nothing"
    with pytest.raises(OutputProblem, match=r"no file that matches \*\.so, x/\*") as caught:
        collect(folder, ("*.so", "x/*"))
    assert caught.value.outcome == "nothing"
    with pytest.raises(OutputProblem, match="its output folder is gone") as caught:
        collect(tmp_path / "gone", ())
    assert caught.value.outcome == "nothing"


@pytest.mark.parametrize("kind", ["file link", "folder link", "dangling link", "pipe"])
def test_what_is_no_file_cannot_ship(folder: Path, kind: str) -> None:
    path = folder / "deep" / "odd"
    targets = {"file link": "c.pkl", "folder link": "/etc", "dangling link": "nowhere"}
    if kind in targets:
        path.symlink_to(targets[kind])
    else:
        os.mkfifo(path)
    with pytest.raises(OutputProblem, match="'deep/odd' is a link or a special file") as caught:
        collect(folder, ())
    assert caught.value.outcome == "error"


@pytest.mark.parametrize("name", ["a\nb", "a\\b", "\x1b[31m", "a\x7f", os.fsdecode(b"\xff")])
def test_names_that_cannot_ship(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    with pytest.raises(OutputProblem, match="cannot ship") as caught:
        collect(folder, ())
    assert caught.value.outcome == "error"


def test_unusual_names_that_can(folder: Path) -> None:
    for name in ("ü x.so", ".hidden", "..two", "-dash", "a:b"):
        (folder / name).write_bytes(b"")
    assert {"ü x.so", ".hidden", "..two", "-dash", "a:b"} <= set(names(folder))


def test_a_link_that_no_pattern_names_is_left_behind(folder: Path) -> None:
    (folder / "deep" / "newest").symlink_to("c.pkl")
    (folder / "all").symlink_to("/etc")
    os.mkfifo(folder / "pipe")
    assert names(folder, "**/*.pkl") == ["a.pkl", "deep/c.pkl", "deep/er/d.pkl"]
    with pytest.raises(OutputProblem, match="'deep/newest' is a link"):
        collect(folder, ("deep/*",))


def test_an_output_that_cannot_be_read_fails_its_action_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No mode bits keep root from reading: the read itself is made to fail."""

    def unreadable(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(outputs, "blob_digest", unreadable)
    with pytest.raises(OutputProblem, match=r"'a\.pkl' cannot be read") as caught:
        collect(folder, ())
    assert caught.value.outcome == "error"


def test_a_folder_that_cannot_be_listed_fails_its_action_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = os.scandir

    def scandir(path: Path) -> object:
        if path.name == "er":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(OutputProblem, match="output folder cannot be read") as caught:
        collect(folder, ())
    assert caught.value.outcome == "error"
