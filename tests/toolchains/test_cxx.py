"""The C++ compiler: which one, and that a swapped one is seen."""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from aot_build.core.toolchain import Toolchain
from aot_build.errors import EnvironmentProblem
from aot_build.files import StatIndex
from aot_build.toolchains.cxx import find_cxx

SCRIPT = """#!/bin/sh
case "$1" in
-dumpfullversion) echo 99.1.0 ;;
-dumpmachine) echo test-machine ;;
-print-prog-name=cc1plus) echo {folder}/cc1plus ;;
-print-prog-name=ld) echo {folder}/ld ;;
-print-file-name=*) echo "${{1#*=}}" ;;
esac
# {note}
"""


class Shelf:
    """Folders of a PATH, with compilers that are scripts."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str) -> Path:
        (self.root / name).mkdir(exist_ok=True)
        return self.root / name

    def put(self, name: str, note: str = "one") -> Path:
        path = self.root / name
        path.parent.mkdir(exist_ok=True, parents=True)
        (path.parent / "cc1plus").write_text("cc1plus one")
        path.write_text(SCRIPT.format(folder=path.parent, note=note))
        path.chmod(0o755)
        return path

    def env(self, *folders: str, **more: str) -> Mapping[str, str]:
        return {"PATH": os.pathsep.join(str(self.folder(f)) for f in folders), **more}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def find(env: Mapping[str, str]) -> Toolchain:
    return find_cxx(env, StatIndex().digest)


def test_the_first_name_on_path_wins(shelf: Shelf) -> None:
    shelf.put("a/clang++")
    gcc = shelf.put("b/g++")
    found = find(shelf.env("a", "b"))
    assert found.command == (str(gcc),) and found.name == "g++"
    assert found.version == "99.1.0" and found.features == ()


def test_what_would_have_come_first_is_named(shelf: Shelf) -> None:
    shelf.put("b/clang++")
    found = find(shelf.env("a", "b", "c"))
    places = {f"{shelf.root}/{at}/g++" for at in "abc"} | {f"{shelf.root}/a/clang++"}
    assert {path for path in found.absent if path.endswith("++")} == places
    shelf.put("a/clang++")
    assert find(shelf.env("a", "b", "c")).command == (f"{shelf.root}/a/clang++",)


def test_cxx_names_it(shelf: Shelf) -> None:
    shelf.put("a/g++")
    named = shelf.put("b/my-c++")
    found = find(shelf.env("a", "b", CXX="my-c++ -m64"))
    assert found.command == (str(named), "-m64")
    assert found.absent == (f"{shelf.root}/a/my-c++",)
    assert find(shelf.env("a", CXX=str(named))).absent == ()
    plain = find(shelf.env("a", "b", CXX="my-c++"))
    assert plain.digest != found.digest, "words of the command count"


def test_a_swapped_compiler_of_equal_size_and_mtime_is_seen(shelf: Shelf, tmp_path: Path) -> None:
    for swapped in ("a/g++", "a/cc1plus"):
        shelf.put("a/g++")
        path, index = shelf.root / swapped, tmp_path / "index"
        kept = StatIndex(index)
        before = find_cxx(shelf.env("a"), kept.digest).digest
        kept.racy.clear()
        kept.save()
        status = path.stat()
        time.sleep(0.02)
        path.write_text(path.read_text().replace("one", "two"))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert path.stat().st_size == status.st_size
        assert find_cxx(shelf.env("a"), StatIndex(index).digest).digest != before


def test_the_same_compiler_elsewhere_is_the_same(shelf: Shelf) -> None:
    """A digest is content: where the toolchain lies on this machine does not matter."""
    shelf.put("aa/g++")
    here = find(shelf.env("aa"))
    content = shelf.root / "aa" / "g++"
    (shelf.root / "bb").mkdir()
    shutil.copy(content, shelf.root / "bb" / "g++")
    there = find(shelf.env("bb"))
    assert here.digest == there.digest and here.command != there.command


def test_a_link_stands_for_its_file(shelf: Shelf) -> None:
    real = shelf.put("real/g++-99")
    (shelf.folder("a") / "g++").symlink_to(real)
    found = find(shelf.env("a"))
    assert found.command == (f"{shelf.root}/a/g++",)
    assert str(real) in found.files


def test_a_launcher_is_looked_through(shelf: Shelf) -> None:
    gcc = shelf.put("a/g++")
    launcher = shelf.folder("a") / "launch"
    launcher.write_text('#!/bin/sh\nexec "$@"\n')
    launcher.chmod(0o755)
    found = find(shelf.env("a", CXX="launch g++ -m64"))
    assert found.name == "g++" and found.version == "99.1.0"
    assert found.command == (str(launcher), "g++", "-m64")
    assert {str(gcc), str(launcher)} <= set(found.files)


@pytest.mark.parametrize("cache", ["ccache", "sccache", "ccache compression=true"])
def test_a_cache_is_left_out(shelf: Shelf, cache: str) -> None:
    """It may answer without the compiler, and nobody would see what that reads."""
    gcc = shelf.put("a/g++")
    shelf.put(f"a/{cache.split()[0]}")
    assert find(shelf.env("a", CXX=f"{cache} g++ -m64")).command == (str(gcc), "-m64")


def test_a_cache_in_the_compilers_clothes_is_passed_over(shelf: Shelf) -> None:
    cache, gcc = shelf.put("bin/ccache"), shelf.put("b/g++")
    for name in ("g++", "clang++"):
        (shelf.folder("a") / name).symlink_to(cache)
    assert find(shelf.env("a", "b")).command == (str(gcc),)
    assert find(shelf.env("a", "b", CXX="g++")).command == (str(gcc),)


def test_a_relative_path_entry_is_made_absolute(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    gcc = shelf.put("a/g++")
    monkeypatch.chdir(shelf.root)
    assert find({"PATH": "a"}).command == (str(gcc),)


def test_no_compiler(shelf: Shelf) -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        find(shelf.env("a"))
    assert str(caught.value) == (
        "no C++ compiler found (environment)\n"
        "  searched: $CXX, PATH for g++, clang++, c++\n"
        f"  PATH:     {shelf.root}/a\n"
        "hint: apt-get install g++, or set CXX, or build without kernels: AOT_BUILD_TARGETS=none"
    )
    with pytest.raises(EnvironmentProblem) as caught:
        find(shelf.env("a", CXX="no-such-compiler"))
    assert caught.value.fields["searched"] == "$CXX=no-such-compiler"


def test_a_compiler_that_does_not_run(shelf: Shelf) -> None:
    path = shelf.folder("a") / "g++"
    path.write_bytes(b"\x7fELF garbage")
    path.chmod(0o755)
    with pytest.raises(EnvironmentProblem, match="does not run"):
        find(shelf.env("a"))


@pytest.mark.compiler
def test_the_compiler_of_this_machine() -> None:
    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        pytest.skip("needs a C++ compiler")
    one, two = find(os.environ), find(os.environ)
    assert one == two
    assert all(os.path.isabs(path) and os.path.exists(path) for path in one.files)
    assert one.version[0].isdigit()
    names = {os.path.basename(path) for path in one.files}
    assert one.name != "g++" or "cc1plus" in names


def test_the_libraries_of_a_clang_count(shelf: Shelf) -> None:
    """Most of a clang lies in them; a patched one keeps its name and its version."""
    real = shelf.put("llvm/bin/clang-99")
    (shelf.folder("a") / "clang++").symlink_to(real)
    library = shelf.root / "llvm" / "lib" / "libLLVM-99.so.1"
    library.parent.mkdir()
    digests = []
    for content in (None, "one", "two"):
        if content:
            library.write_text(content)
        digests.append(find(shelf.env("a")).digest)
    assert len(set(digests)) == 3
    (library.parent / "libclang-cpp.so.99").write_text("one")
    found = find(shelf.env("a"))
    assert found.digest not in digests
    named = {os.path.basename(path): path for path in found.files}
    assert {"libLLVM-99.so.1", "libclang-cpp.so.99"} <= named.keys()
    assert named["libLLVM-99.so.1"] == str(library)


def test_libraries_beside_another_compiler_do_not_count(shelf: Shelf) -> None:
    shelf.put("usr/bin/g++")
    env = {"PATH": f"{shelf.root}/usr/bin"}
    before = find(env)
    (shelf.folder("usr/lib") / "libLLVM.so").write_text("one")
    assert find(env) == before


@pytest.mark.parametrize(
    ("linker", "told"),
    [
        ("echo '  --dependency-file=FILE  write one'", True),
        ("echo '  --depfile=FILE'", False),
        ("echo '--dependency-file'; exit 1", False),
        (None, False),
    ],
)
def test_a_linker_that_tells_what_it_reads(shelf: Shelf, linker: str | None, told: bool) -> None:
    shelf.put("a/g++")
    if linker is not None:
        path = shelf.root / "a" / "ld"
        path.write_text(f'#!/bin/sh\n[ "$1" = --help ] || exit 2\n{linker}\n')
        path.chmod(0o755)
    assert ("link-depfile" in find(shelf.env("a")).features) == told


@pytest.mark.compiler
def test_a_depfile_of_a_link_is_written_where_it_is_promised(tmp_path: Path) -> None:
    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        pytest.skip("needs a C++ compiler")
    found = find(os.environ)
    (tmp_path / "a.cpp").write_text("int one() { return 1; }\n")
    words = [*found.command, "-shared", "-fPIC", "a.cpp", "-o", "a.so"]
    ended = subprocess.run([*words, "-Wl,--dependency-file=a.d"], cwd=tmp_path, check=False)
    written = ended.returncode == 0 and (tmp_path / "a.d").exists()
    assert written == ("link-depfile" in found.features)


def test_a_program_that_would_come_earlier_on_path_is_named(shelf: Shelf) -> None:
    shelf.put("b/g++")
    script = shelf.root / "b" / "g++"
    script.write_text(script.read_text().replace("esac", "-print-prog-name=as) echo as ;;\nesac"))
    for folder in ("b", "c"):
        (shelf.folder(folder) / "as").write_text("#!/bin/sh\n")
        (shelf.folder(folder) / "as").chmod(0o755)
    found = find(shelf.env("a", "b", "c"))
    assert f"{shelf.root}/b/as" in found.files
    assert f"{shelf.root}/a/as" in found.absent and f"{shelf.root}/c/as" not in found.absent
