"""The C++ compiler: which one, and that a swapped one is seen."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from aot_build.core.compiler_env import NEEDS_LIBRARY_PATH
from aot_build.core.toolchain import Toolchain
from aot_build.errors import EnvironmentProblem
from aot_build.files import StatIndex
from aot_build.toolchains.cxx import find_cxx
from aot_build.toolchains.driver import libraries

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
    assert set(found.absent) == places
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


# The compiler of this machine, parts of it copied

WHOLE = ("cc1plus", "collect2", "as", "ld", "lto-wrapper")


def digest_of(env: Mapping[str, str], index: Path) -> str:
    """With digests that are kept from call to call, as from build to build."""
    kept = StatIndex(index)
    found = find_cxx({**os.environ, **env}, kept.digest)
    kept.racy.clear()
    kept.save()
    return found.digest


def swap(path: Path) -> None:
    """Another content in its place, of equal size and mtime."""
    status, content = path.stat(), path.read_bytes()
    time.sleep(0.01)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size


def copied(driver: str, place: Path, *names: str) -> None:
    """Programs and files of a driver, each with a byte behind that nobody reads."""
    place.mkdir()
    for name in names:
        kind = "file" if name.endswith(".o") else "prog"
        told = subprocess.run(
            [driver, f"-print-{kind}-name={name}"], capture_output=True, text=True
        )
        found = told.stdout.strip()
        shutil.copy(found if os.sep in found else str(shutil.which(found)), place / name)
        with open(place / name, "ab") as stream:
            stream.write(b"\0")


@pytest.fixture
def gcc() -> str:
    """The real g++."""
    found = shutil.which("g++")
    told = found and subprocess.run([found, "--version"], capture_output=True, text=True).stdout
    if not found or not told or "Free Software Foundation" not in told:
        pytest.skip("needs g++")
    return found


@pytest.mark.compiler
def test_a_swapped_program_of_a_copied_toolchain_is_seen(gcc: str, tmp_path: Path) -> None:
    copied(gcc, tmp_path / "parts", *WHOLE, "crti.o")
    for env in (
        {"CXX": f"{gcc} -B{tmp_path}/parts/"},
        {"CXX": gcc, "COMPILER_PATH": f"{tmp_path}/parts"},
    ):
        plain = digest_of({"CXX": gcc}, tmp_path / "index")
        seen = [plain, digest_of(env, tmp_path / "index")]
        for name in (*WHOLE, *(("crti.o",) if "-B" in env["CXX"] else ())):
            swap(tmp_path / "parts" / name)
            seen.append(digest_of(env, tmp_path / "index"))
        assert len(set(seen)) == len(seen), env
        assert digest_of({"CXX": gcc}, tmp_path / "index") == plain


@pytest.mark.compiler
def test_the_driver_behind_a_script_counts(gcc: str, tmp_path: Path) -> None:
    driver = tmp_path / "real" / "g++"
    driver.parent.mkdir()
    shutil.copy(gcc, driver)
    with open(driver, "ab") as stream:
        stream.write(b"\0")
    script = tmp_path / "my-c++"
    script.write_text(f'#!/bin/sh\nexec {driver} -O2 "$@"\n')
    script.chmod(0o755)
    env = {"CXX": str(script)}
    before = digest_of(env, tmp_path / "index")
    assert digest_of(env, tmp_path / "index") == before
    swap(driver)
    after = digest_of(env, tmp_path / "index")
    swap(script)  # Its last byte was the end of the line.
    assert len({before, after, digest_of(env, tmp_path / "index")}) == 3


@pytest.mark.compiler
def test_another_linker_counts_where_it_is_chosen(gcc: str, tmp_path: Path) -> None:
    found = find_cxx({**os.environ, "CXX": gcc}, StatIndex().digest)
    assert found.brings((), {}) == {}
    linker = tmp_path / "ld.gold"
    linker.write_text("#!/bin/sh\n# one\n")
    linker.chmod(0o755)
    words = (f"-B{tmp_path}/", "-fuse-ld=gold")
    one = find_cxx({**os.environ, "CXX": gcc}, StatIndex().digest).brings(words, {})
    linker.write_text("#!/bin/sh\n# two\n")
    two = find_cxx({**os.environ, "CXX": gcc}, StatIndex().digest).brings(words, {})
    assert one["programs"] != two["programs"]
    by_env = found.brings((), {"COMPILER_PATH": str(tmp_path)})
    assert by_env.keys() == {"programs"}


@pytest.mark.compiler
def test_what_native_means_here(gcc: str) -> None:
    found = find_cxx({**os.environ, "CXX": gcc}, StatIndex().digest)
    told = found.brings(("-march=native",), {})
    assert told.keys() == {"host"} and "native" not in told["host"]
    assert os.sep not in told["host"], "a path would be another one on another host"
    assert found.brings(("-march=native",), {}) == told
    in_command = find_cxx({**os.environ, "CXX": f"{gcc} -mtune=native"}, StatIndex().digest)
    assert in_command.brings(("-mtune=native",), {}).keys() == {"host"}


# Shared libraries of its programs


@pytest.mark.compiler
def test_libraries_that_programs_load(gcc: str, tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("needs ld.so")
    library = tmp_path / "lib" / "libpart.so"
    library.parent.mkdir()
    (tmp_path / "a.c").write_text("int part(void) { return 1; }\n")
    (tmp_path / "main.c").write_text("int part(void); int main(void) { return part(); }\n")
    for words in (
        ["-shared", "-fPIC", "a.c", "-o", "lib/libpart.so", "-Wl,-soname,libpart.so"],
        ["-x", "c", "main.c", "-o", "main", "-Llib", "-lpart"],
    ):
        subprocess.run([gcc, "-x", "c", *words], cwd=tmp_path, check=True)
    main, env = str(tmp_path / "main"), {"PATH": os.environ["PATH"]}
    found, needs = libraries([main], env)
    assert "libc.so.6" in found and "libpart.so" not in found and needs == ()
    found, needs = libraries([main], {**env, "LD_LIBRARY_PATH": str(library.parent)})
    assert found["libpart.so"] == str(library) and needs == (NEEDS_LIBRARY_PATH,)
    assert libraries([gcc], {**env, "LD_LIBRARY_PATH": str(library.parent)})[1] == (), "not needed"
    assert libraries([__file__], env) == ({}, ())


@pytest.mark.compiler
def test_libraries_of_the_compiler_count(gcc: str) -> None:
    names = {name for name, _, _ in find_cxx({**os.environ, "CXX": gcc}, StatIndex().digest).parts}
    loaded = subprocess.run(["ldd", str(shutil.which("as"))], capture_output=True, text=True).stdout
    assert {line.split()[0] for line in loaded.splitlines() if "=> /" in line} <= names
