"""The fast path: fresh exactly where nothing changed."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aot_build import snapshot
from aot_build.files import stat_row

ANSWER = ("demo", '{"wall_s": @wall_s@}')
NAMES = ["DEMO", "PATH"]


class Snapshot:
    """A project with one input, one absence, one folder that must exist, one that was looked at,
    and two outputs."""

    def __init__(self, folder: Path, name: str = "a.h") -> None:
        self.folder = folder
        self.input, self.gone, self.cache = folder / name, folder / "gone.h", folder / "cache"
        self.out, self.looked_at = folder / "out", folder / "looked_at"
        for path in (self.cache, self.out, self.looked_at):
            path.mkdir(parents=True)
        self.input.write_text("one")
        for output in ("x.so", "deep ü.so"):
            (self.out / output).write_text(output)

    def write(self, request: str = "release", names: list[str] = NAMES) -> None:
        outputs = []
        for name in ("deep ü.so", "x.so"):
            row = stat_row(self.out / name)
            outputs.append((name, row[1:4]))
        inputs: list[tuple[str, tuple[int, ...]]] = [
            (str(self.input), stat_row(self.input)),
            (str(self.gone), snapshot.ABSENT),
            (str(self.cache), snapshot.PRESENT),
            (str(self.looked_at), snapshot.NO_LINK),
        ]
        place = str(self.folder)
        snapshot.write(place, request, names, ANSWER, inputs, str(self.out), outputs)

    def fresh(self, request: str = "release") -> tuple[str, str] | None:
        return snapshot.fresh(str(self.folder), request)

    @property
    def file(self) -> Path:
        return Path(snapshot.path_of(str(self.folder), "release"))


@pytest.fixture
def kept(tmp_path: Path) -> Snapshot:
    made = Snapshot(tmp_path / "project")
    made.write()
    return made


def test_a_link_that_leads_nowhere_is_not_absent(kept: Snapshot) -> None:
    kept.gone.symlink_to("nowhere")
    assert kept.fresh() is None


def test_nothing_changed(kept: Snapshot) -> None:
    assert kept.fresh() == ANSWER
    (kept.cache / "new").write_text("the folder only has to exist")
    assert kept.fresh() == ANSWER


def test_a_folder_that_became_a_link_to_one_is_seen(kept: Snapshot) -> None:
    (kept.looked_at / "new").write_text("nobody has read what is in it")
    assert kept.fresh() == ANSWER
    away = kept.looked_at.with_name("away")
    kept.looked_at.rename(away)
    assert kept.fresh() is None
    kept.looked_at.symlink_to(away)
    assert kept.fresh() is None
    kept.looked_at.unlink()
    away.rename(kept.looked_at)
    assert kept.fresh() == ANSWER


def same_mtime(path: Path, content: str) -> None:
    before = path.stat()
    path.write_text(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Snapshot], Any]] = {
    "an input edited": lambda s: s.input.write_text("two!"),
    "an input edited, same size": lambda s: s.input.write_text("two"),
    "an input edited, same size and mtime": lambda s: same_mtime(s.input, "two"),
    "an input touched": lambda s: os.utime(s.input, (1, 1)),
    "an input removed": lambda s: s.input.unlink(),
    "an absence ended": lambda s: s.gone.write_text(""),
    "an absence ended by a folder": lambda s: s.gone.mkdir(),
    "the cache gone": lambda s: s.cache.rmdir(),
    "an output removed": lambda s: (s.out / "x.so").unlink(),
    "an output edited": lambda s: (s.out / "x.so").write_text("x.SO!"),
    "an output replaced": lambda s: (
        (s.out / "y").write_text("x.so"),
        os.utime(s.out / "y", ns=(0, (s.out / "x.so").stat().st_mtime_ns)),
        os.replace(s.out / "y", s.out / "x.so"),
    ),
    "all outputs removed": lambda s: [p.unlink() for p in s.out.iterdir()],
    "forgotten": lambda s: snapshot.forget(str(s.folder)),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(kept: Snapshot, change: str) -> None:
    CHANGES[change](kept)
    assert kept.fresh() is None
    snapshot.forget(str(kept.folder))
    assert kept.fresh() is None


def test_another_request_is_another_build(kept: Snapshot) -> None:
    assert kept.fresh("debug") is None
    kept.write("debug")
    assert kept.fresh("debug") == kept.fresh() == ANSWER
    snapshot.forget(str(kept.folder), "debug")
    assert kept.fresh("debug") is None and kept.fresh() == ANSWER


def test_the_latest_requests_are_kept(kept: Snapshot) -> None:
    for number in range(snapshot.KEPT):
        kept.write(f"request {number}")
        os.utime(snapshot.path_of(str(kept.folder), f"request {number}"), (number, number))
    found = [kept.fresh(f"request {number}") for number in range(snapshot.KEPT)]
    assert found[-1] == ANSWER and found[0] is None and found.count(None) == 1


def test_a_request_has_one_shape_however_it_is_spelt() -> None:
    made = snapshot.shape(["cpu"], None, ("a", "b"), {"x": "1", "y": ["2"]})
    assert made == snapshot.shape(("cpu",), None, ["a", "b"], {"y": ("2",), "x": "1"})
    shapes = {
        made, snapshot.shape(), snapshot.shape([]), snapshot.shape(["cpu"]),
        snapshot.shape(mode="cpu"), snapshot.shape(kernels=["cpu"]), snapshot.shape(["cpu,cpu"]),
        snapshot.shape(folder="cpu"), snapshot.shape(package_dir="cpu"),
        snapshot.shape(["c", "pu"]),
    }  # fmt: skip
    assert len(shapes) == 10


def test_another_path_or_interpreter_is_another_build(
    kept: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "path", ["/elsewhere/site-packages", *sys.path])
        assert kept.fresh() is None, "other packages are installed there"
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/usr/bin/other")
        assert kept.fresh() is None
    assert kept.fresh() == ANSWER


@pytest.mark.parametrize("value", ["", "1", "a\nb", "\udcff"])
def test_a_variable_that_was_read(
    kept: Snapshot, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("DEMO", value)
    assert kept.fresh() is None, "it was unset"
    kept.write()
    assert kept.fresh() == ANSWER
    monkeypatch.setenv("DEMO", value + "x")
    assert kept.fresh() is None
    monkeypatch.delenv("DEMO")
    assert kept.fresh() is None


def test_our_own_variables(kept: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in snapshot.FREE_VARIABLES:
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("UNRELATED", "7")
    assert kept.fresh() == ANSWER
    for name in ("AOT_BUILD_MODE", "TRITON_NEW", "FLYDSL_NEW"):
        with monkeypatch.context() as patched:
            patched.setenv(name, "debug")
            assert kept.fresh() is None, name
    assert kept.fresh() == ANSWER


def test_no_variables_at_all(kept: Snapshot) -> None:
    kept.write(names=[])
    assert kept.fresh() == ANSWER


@pytest.mark.parametrize("name", ["a b.h", "ü\u2028.h", "日本.h", os.fsdecode(b"\xff.h"), "-x;$y"])
def test_odd_names(tmp_path: Path, name: str) -> None:
    made = Snapshot(tmp_path / "a project", name)
    made.write()
    assert made.fresh() == ANSWER
    made.input.write_text("other")
    assert made.fresh() is None


def test_a_truncated_file_is_no_snapshot(kept: Snapshot) -> None:
    content = kept.file.read_bytes()
    for length in range(len(content)):
        kept.file.write_bytes(content[:length])
        assert kept.fresh() is None, length
    kept.file.write_bytes(content)
    assert kept.fresh() == ANSWER


@pytest.mark.parametrize(
    "content",
    [
        b"garbage", b"\n", b"aot-build snapshot 1 \n", b"aot-build snapshot 1 1 2\n",
        b"aot-build snapshot 1 -5 -5 -5\n" + b"x" * 64, b"aot-build snapshot 1 a b c\n",
        b"aot-build snapshot 1 999999999999999999999 1 1\nxx", b"aot-build snapshot 1 4 0 0\nabcd",
        b"aot-build snapshot 1 2 0 0\n\xff\xfe", b"aot-build snapshot 2 0 0 0\n", b"\0" * 4096,
    ],
)  # fmt: skip
def test_garbage_is_no_snapshot(kept: Snapshot, content: bytes) -> None:
    kept.file.write_bytes(content)
    assert kept.fresh() is None


def test_an_appended_or_flipped_row_is_no_snapshot(kept: Snapshot) -> None:
    content = kept.file.read_bytes()
    kept.file.write_bytes(content + bytes(8))
    assert kept.fresh() is None
    kept.file.write_bytes(content + b"x")
    assert kept.fresh() is None
    kept.file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert kept.fresh() is None


def test_a_path_of_inode_one_is_still_compared(tmp_path: Path) -> None:
    """The root of a tmpfs has that number."""
    made = Snapshot(tmp_path / "project")
    device, _, size, changed, status = stat_row(made.input)
    place = str(made.folder)
    for row in ((device, 1, size, changed, status), (device, 0, size, changed, status)):
        inputs = [(str(made.input), row)]
        snapshot.write(place, "release", NAMES, ANSWER, inputs, str(made.out), [])
        assert made.fresh() is None


def test_it_imports_nothing_heavy(kept: Snapshot, fresh_python: Callable[..., str]) -> None:
    script = (
        "import sys; before = set(sys.modules)\n"
        "from aot_build import snapshot; snapshot.fresh(sys.argv[1], 'release')\n"
        "print(sorted(n for n in set(sys.modules) - before if not n.startswith('aot_build')))"
    )
    loaded = fresh_python(script, kept.folder)
    assert loaded == "[]\n"
