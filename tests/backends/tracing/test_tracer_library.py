"""The library is built once, tried, and refused with a reason where it does not work."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from aot_build.backends.tracing import library
from aot_build.backends.tracing.library import Library, build, preloaded
from aot_build.tracers import find_tracer

pytestmark = pytest.mark.compiler


def compiler(folder: Path, script: str) -> str:
    """A compiler that counts its calls in `calls` beside it."""
    folder.mkdir(exist_ok=True)
    path = folder / "mycc"
    path.write_text(f'#!/bin/sh\necho >> "{folder}/calls"\n{script}\n')
    path.chmod(0o755)
    return str(path)


def calls(folder: Path) -> int:
    return len((folder / "calls").read_text().splitlines())


def files(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


def test_once_for_each_compiler(tmp_path: Path) -> None:
    env = {**os.environ, "CC": compiler(tmp_path / "bin", 'exec gcc "$@"')}
    first = build(tmp_path / "out", env)
    assert first.reason == ""
    assert build(tmp_path / "out", env) == first
    assert calls(tmp_path / "bin") == 1
    assert files(tmp_path / "out") == [".so", ".txt"]
    (tmp_path / "out" / first.path).unlink()
    assert build(tmp_path / "out", env) == first
    assert calls(tmp_path / "bin") == 2


@pytest.mark.parametrize("keep", [0, 3000, -1])
def test_again_where_it_was_damaged(keep: int, tmp_path: Path) -> None:
    """A power cut may leave its name and not its bytes."""
    first = Path(build(tmp_path, os.environ).path)
    whole = first.read_bytes()
    first.write_bytes(whole[:keep])
    assert build(tmp_path, os.environ) == Library(str(first))
    assert first.read_bytes() == whole


def test_by_a_compiler_for_another_language(tmp_path: Path) -> None:
    """It must not be linked to the library of that one, which all programs would then load."""
    (tmp_path / "bin").mkdir()
    for name in ("as", "ld", "sh", "cat"):
        found = next(p for p in (Path("/usr/bin", name), Path("/bin", name)) if p.exists())
        (tmp_path / "bin" / name).symlink_to(found)
    env = {**os.environ, "PATH": str(tmp_path / "bin")}
    env.pop("CC", None)
    built = build(tmp_path / "out", env, ["/usr/bin/g++"])
    assert built.reason == ""
    assert b"libstdc++" not in Path(built.path).read_bytes()


def test_by_many_at_once(tmp_path: Path) -> None:
    words = [
        sys.executable, "-c",
        "import os, sys; from pathlib import Path; from aot_build.backends.tracing import library;"
        "print(library.build(Path(sys.argv[1]), os.environ).path)",
        str(tmp_path),
    ]  # fmt: skip
    started = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    paths = {each.communicate(timeout=100)[0] for each in started}
    assert len(paths) == 1
    assert Path(paths.pop().strip()).stat().st_size
    assert files(tmp_path) == [".so", ".txt"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo no luck >&2; exit 1", "fails: no luck"),
        ("kill -9 $$", "fails"),
        ('for last; do :; done; echo x > "$last"', "fails with the tracer"),
        ('for last; do :; done; echo "int a;" | gcc -shared -x c - -o "$last"', "does not see"),
    ],
)
def test_refused(script: str, reason: str, tmp_path: Path) -> None:
    """A compiler that fails, and libraries that cannot be loaded or do nothing: kept for a day."""
    env = {**os.environ, "CC": compiler(tmp_path / "bin", script)}
    refused = build(tmp_path / "out", env)
    assert not refused
    assert reason in refused.reason
    assert build(tmp_path / "out", env) == refused
    assert calls(tmp_path / "bin") == 1
    (verdict,) = (tmp_path / "out").glob("*.txt")
    yesterday = time.time() - 86500
    os.utime(verdict, (yesterday, yesterday))
    assert build(tmp_path / "out", env) == refused
    assert calls(tmp_path / "bin") == 2


def test_a_full_disk_refuses_for_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed for want of room says nothing about the compiler: all builds that share the
    cache would go without the tracer for a day."""
    script = f'test -e "{tmp_path}/room" || exit 1; exec gcc "$@"'
    env = {**os.environ, "CC": compiler(tmp_path / "bin", script)}
    monkeypatch.setattr(library, "_LITTLE_ROOM", 1 << 62)
    assert "fails" in build(tmp_path / "out", env).reason
    (tmp_path / "room").touch()
    assert build(tmp_path / "out", env).reason == ""


@pytest.mark.parametrize(
    ("folder", "env", "reason"),
    [
        ("out", {"PATH": "/none", "CC": ""}, "no C compiler"),
        ("out", {"PATH": "/none", "CC": "mycc"}, "no C compiler"),
        ("a/file/out", {}, "cannot be built"),
    ],
)
def test_not_tried(folder: str, env: dict[str, str], reason: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    refused = build(tmp_path / folder, {**os.environ, **env})
    assert not refused
    assert reason in refused.reason


@pytest.mark.parametrize("name", ["with space", "with:colon", "with$dollar"])
def test_folders_that_a_list_of_libraries_cannot_name(name: str, tmp_path: Path) -> None:
    found = build(tmp_path / name, os.environ)
    assert found, found.reason
    assert not set(" :$") & set(found.path)


def test_preloaded() -> None:
    ours = Library("/x/tracer.so")
    assert preloaded({"A": "1"}, ours) == {"A": "1", "LD_PRELOAD": "/x/tracer.so"}
    others = preloaded({"LD_PRELOAD": "/a.so /b.so"}, ours)
    assert others["LD_PRELOAD"] == "/x/tracer.so:/a.so:/b.so"
    assert preloaded(others, ours) == others
    assert preloaded({"A": "1"}, Library("", "none")) == {"A": "1"}


def test_it_compiles_without_warnings(tmp_path: Path) -> None:
    text = Path(library.__file__).with_name("tracer.c")
    words = ["gcc", *library.FLAGS, "-Wall", "-Wextra", "-Werror", text, "-o", tmp_path / "t.so"]
    subprocess.run([*words, "-ldl"], check=True, timeout=100)


def test_what_a_killed_one_leaves_lies_in_the_scratch_folder(tmp_path: Path) -> None:
    """The owner of that folder removes it, whoever was killed meanwhile."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    script = 'echo "$TMPDIR" > "$(dirname "$0")/room"; kill -9 $PPID'
    env = {**os.environ, "CC": compiler(tmp_path / "bin", script)}
    code = (
        "import os, sys; from pathlib import Path; from aot_build.backends.tracing import library;"
        "library.build(Path(sys.argv[1]), os.environ, scratch=Path(sys.argv[2]))"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "out"), str(scratch)]
    assert subprocess.run(words, env=env, timeout=100).returncode == -9
    room = Path((tmp_path / "bin/room").read_text().strip())
    assert room.is_dir() and room.parent == scratch and not list((tmp_path / "out").glob("*"))


def test_another_folder_serves_where_the_first_does_not(tmp_path: Path) -> None:
    """As on a disk that no program may be loaded from."""
    (tmp_path / "file").touch()
    told: list[object] = []
    settings = SimpleNamespace(tracer=True)
    refused, serving = tmp_path / "file" / "in", tmp_path / "own"
    found = find_tracer(settings, os.environ, {}, told.append, [refused, serving], tmp_path)
    assert found.path.startswith(str(serving)) and not told
    found = find_tracer(settings, os.environ, {}, told.append, [refused], tmp_path)
    assert not found and len(told) == 1
