"""Entries of FlyDSL kernels: where they are put, and what is said of those that are not."""

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

CP = f"cp{sys.version_info[0]}{sys.version_info[1]}"
MADE = {"flydsl": {"version": "9.9", "python": CP}}
KEY = "0123456789abcdef" * 2
FIRST, SECOND = f"größe_{KEY}/{KEY[:16]}.pkl", f"größe_{KEY}/{KEY[:15]}0.pkl"
Ship = Callable[..., ModuleType]


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None of FlyDSL's is set, before and after; nobody's caches are touched."""
    for name in ("FLYDSL_RUNTIME_CACHE_DIR", "FLYDSL_RUNTIME_RUN_ONLY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.delenv("AOT_RUNTIME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def flydsl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """flydsl 9.9 is installed, and may not be imported."""
    site = tmp_path / "site"
    (site / "flydsl").mkdir(parents=True)
    (site / "flydsl" / "__init__.py").write_text("raise AssertionError('imported')")
    (site / "flydsl-9.9.dist-info").mkdir()
    text = "Metadata-Version: 2.1\nName: flydsl\nVersion: 9.9\n"
    (site / "flydsl-9.9.dist-info" / "METADATA").write_text(text)
    monkeypatch.syspath_prepend(str(site))


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that FlyDSL was told to keep its entries in."""
    folder = tmp_path / "a 'given' $folder\n"
    monkeypatch.setenv("FLYDSL_RUNTIME_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def aot(flydsl: None, ship: Ship) -> ModuleType:
    """Two entries of one kernel, and one of another that is one of these again."""
    one = ("norm", "hip:gfx942", {"n": 1}, {FIRST: b"first", SECOND: b"second", "notes.txt": b""})
    two = ("norm_again", "hip:gfx950", {}, {FIRST: b"first"})
    return ship((*one, MADE), (*two, MADE), backend="flydsl")


def held(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def shipped(aot: ModuleType) -> list[tuple[Path, int]]:
    root = Path(str(aot.__file__)).parent
    return sorted((p, p.stat().st_ctime_ns) for p in root.rglob("*") if p.name != "__pycache__")


def test_entries_are_copied_into_the_given_folder(aot: Any, given: Path) -> None:
    before = shipped(aot)
    aot.install()
    assert held(given) == {FIRST: b"first", SECOND: b"second"}
    times = {path: path.stat().st_mtime_ns for path in given.rglob("*")}
    aot.install()
    assert {path: path.stat().st_mtime_ns for path in given.rglob("*")} == times
    assert [row for row in shipped(aot) if row[0].suffix == ".pkl"] == [
        row for row in before if row[0].suffix == ".pkl"
    ]
    assert not [path for path in given.rglob("*") if path.is_symlink()]
    assert os.environ["FLYDSL_RUNTIME_CACHE_DIR"] == str(given)
    assert "FLYDSL_RUNTIME_RUN_ONLY" not in os.environ


def test_what_is_installed_for_other_languages_sets_nothing(aot: Any, given: Path) -> None:
    before = dict(os.environ)
    aot.install("triton")
    assert dict(os.environ) == before and held(given) == {}
    aot.install("flydsl")
    assert held(given) == {FIRST: b"first", SECOND: b"second"}


def test_without_a_folder_one_among_the_users_caches_is_used(aot: Any, tmp_path: Path) -> None:
    usual = os.umask(0o002)
    try:
        aot.install()
    finally:
        os.umask(usual)
    folder = tmp_path / "caches" / "aot-runtime" / "flydsl-v1"
    assert os.environ["FLYDSL_RUNTIME_CACHE_DIR"] == str(folder)
    assert sorted(held(folder)) == sorted([FIRST, SECOND])
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (folder, folder.parent)]
    assert modes == [0o700] * 2, "who can write into the upper one can replace the lower one"


@pytest.mark.parametrize(
    "bad", ["a file", "others write", "others write above", "a link", "a relative path"]
)
def test_a_bad_cache_folder_is_left_for_a_temporary_one(
    aot: Any, tmp_path: Path, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "caches" / "aot-runtime" / "flydsl-v1"
    if bad == "a file":
        (tmp_path / "caches").write_text("")
    elif bad == "others write":
        folder.mkdir(parents=True)
        folder.chmod(0o777)
    elif bad == "others write above":
        folder.mkdir(parents=True, mode=0o700)
        folder.parent.chmod(0o770)
    elif bad == "a link":
        folder.parent.mkdir(parents=True)
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", "caches")
        monkeypatch.setenv("HOME", "relative")
    aot.install()
    used = tmp_path / f"aot-runtime-{os.geteuid()}-flydsl-v1"
    assert os.environ["FLYDSL_RUNTIME_CACHE_DIR"] == str(used)
    assert sorted(held(used)) == sorted([FIRST, SECOND])
    assert not folder.is_dir() or held(folder) == {}


def test_what_stands_in_the_way(aot: Any, given: Path) -> None:
    """A dangling link, and an entry of another size, are replaced; the rest is FlyDSL's."""
    folder = (given / FIRST).parent
    folder.mkdir(parents=True)
    (given / FIRST).symlink_to(given / "gone")
    (given / SECOND).write_bytes(b"FlyDSL's own")
    (folder / "other.pkl").write_bytes(b"other")
    (given / SECOND).with_suffix(".lock").touch()
    aot.install()
    assert (given / FIRST).read_bytes() == b"first" and not (given / FIRST).is_symlink()
    assert (given / SECOND).read_bytes() == b"second"
    assert len(held(given)) == 4 and not (given / "gone").exists()
    (given / SECOND).write_bytes(b"SECOND")
    aot.install()
    assert (given / SECOND).read_bytes() == b"SECOND"


def test_a_folder_in_the_way_costs_its_own_entry(aot: Any, given: Path) -> None:
    (given / FIRST / "sub").mkdir(parents=True)
    with pytest.warns(UserWarning, match=r"norm, norm_again \(flydsl\) would compile anew: 1 of 2"):
        aot.install()
    assert held(given) == {SECOND: b"second"}


def test_a_given_folder_that_cannot_be_used_is_told_once(
    aot: Any, given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given.write_text("a file")
    with pytest.warns(UserWarning, match="2 of 2 entries: .*Not a directory"):
        aot.install()
    aot.install()
    aot._state.strict = None
    monkeypatch.setenv("AOT_RUNTIME", "strict")
    with pytest.raises(aot.KernelNotFound, match="Not a directory"):
        aot.install()


def test_an_empty_variable_turns_the_cache_off(aot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYDSL_RUNTIME_CACHE_DIR", "")
    with pytest.warns(UserWarning, match="is empty, which turns FlyDSL's cache off"):
        aot.install()
    assert os.environ["FLYDSL_RUNTIME_CACHE_DIR"] == ""


def test_a_damaged_file_is_not_placed(aot: Any, given: Path) -> None:
    (path,) = Path(str(aot.__file__)).parent.rglob(f"*{Path(SECOND).name}")
    path.write_bytes(b"SECOND")
    with pytest.warns(UserWarning, match=f"1 of 2 entries: the shipped file {path} is damaged"):
        aot.install()
    assert held(given) == {FIRST: b"first"}


@pytest.mark.parametrize(
    "change",
    [
        lambda variant: next(iter(variant["files"].values())).pop("size"),
        lambda variant: variant.update(files=[]),
        lambda variant: variant["metadata"].update(flydsl="9.9"),
    ],
    ids=["no size", "no files", "no versions"],
)
def test_a_damaged_manifest_is_told(
    change: Callable[[dict[str, Any]], object], aot: Any, given: Path
) -> None:
    path = Path(str(aot.__file__)).parent / "manifest.json"
    content = json.loads(path.read_text())
    for variant in content["kernels"]["norm"]["variants"]:
        change(variant)
    path.write_text(json.dumps(content))
    with pytest.raises(aot.ManifestError, match="damaged at kernel 'norm'"):
        aot.install()


def test_a_damaged_file_costs_no_other(aot: Any, tmp_path: Path) -> None:
    (path,) = Path(str(aot.__file__)).parent.rglob(f"*{Path(SECOND).name}")
    path.write_bytes(b"SECOND")
    with pytest.warns(UserWarning, match=f"1 of 2 entries: the shipped file {path} is damaged"):
        aot.install()
    used = tmp_path / "caches" / "aot-runtime" / "flydsl-v1"
    assert os.environ["FLYDSL_RUNTIME_CACHE_DIR"] == str(used)
    assert held(used) == {FIRST: b"first"}


def test_strict_mode_mends_a_placed_entry_of_other_bytes(
    aot: Any, given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (given / SECOND).parent.mkdir(parents=True)
    (given / SECOND).write_bytes(bytes(len(b"second")))
    monkeypatch.setenv("AOT_RUNTIME", "strict")
    aot.install()
    assert held(given) == {FIRST: b"first", SECOND: b"second"}


def test_strict_mode_has_flydsl_refuse_to_compile(
    aot: Any, given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AOT_RUNTIME", "strict")
    aot.install()
    assert os.environ["FLYDSL_RUNTIME_RUN_ONLY"] == "1"
    assert sorted(held(given)) == sorted([FIRST, SECOND])


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ({"version": "9.8", "python": CP}, r"by flydsl 9.8 for .* pip install flydsl==9.8"),
        ({"version": "9.9", "python": "cp399"}, r"by flydsl 9.9 for cp399, and this is .*9.9 for"),
    ],
)
def test_entries_of_another_version_are_told(
    flydsl: None, ship: Ship, given: Path, made: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    aot: Any = ship(
        ("old", "hip:gfx942", {}, {FIRST: b"first"}, {"flydsl": made}),
        ("new", "hip:gfx942", {}, {SECOND: b"second"}, MADE),
        backend="flydsl",
    )
    with pytest.warns(
        UserWarning, match=r"launches of old \(flydsl\) would compile anew: .*" + told
    ):
        aot.install()
    assert held(given) == {SECOND: b"second"}
    aot._state.strict = None
    monkeypatch.setenv("AOT_RUNTIME", "strict")
    with pytest.raises(aot.KernelNotFound, match=told):
        aot.install()


def test_without_flydsl_nothing_is_done(
    ship: Ship, given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aot: Any = ship(("k", "hip:gfx942", {}, {FIRST: b"first"}, MADE), backend="flydsl")
    monkeypatch.setitem(sys.modules, "flydsl", None)
    monkeypatch.setenv("AOT_RUNTIME", "strict")
    aot.install()
    assert not given.exists() and "FLYDSL_RUNTIME_RUN_ONLY" not in os.environ


def test_several_processes_at_once(flydsl: None, ship: Ship, given: Path, tmp_path: Path) -> None:
    names = [f"f_{KEY}/{n:016x}.pkl" for n in range(200)]
    content = {name: name.encode() * 500 for name in names}
    ship(("k", "hip:gfx942", {}, content, MADE), backend="flydsl")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(tmp_path)])}
    words = [sys.executable, "-W", "error", "-c", "from shipping import _aot; _aot.install()"]
    started = [subprocess.Popen(words, env=env) for _ in range(4)]
    assert [each.wait() for each in started] == [0] * 4
    assert held(given) == content


def test_a_full_disk_leaves_nothing_half_done(
    flydsl: None, ship: Ship, given: Path, tmp_path: Path
) -> None:
    content = {FIRST: b"short", SECOND: b"long" * 1000}
    ship(("k", "hip:gfx942", {}, content, MADE), backend="flydsl")

    def bounded() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(tmp_path)])}
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    words = [sys.executable, "-c", "from shipping import _aot; _aot.install()"]
    done = subprocess.run(words, env=env, preexec_fn=bounded, capture_output=True, text=True)
    assert done.returncode == 0 and "1 of 2 entries: [Errno 27]" in done.stderr
    assert held(given) == {FIRST: b"short"}
