"""The real g++ with parts of it copied: what of it counts, and what words bring into play."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from aot_build.core.compiler_env import NEEDS_LOADER_PATH
from aot_build.files import StatIndex
from aot_build.toolchains.cxx import find_cxx
from aot_build.toolchains.driver import libraries

pytestmark = pytest.mark.compiler

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


def test_what_a_script_adds_counts(gcc: str, tmp_path: Path) -> None:
    script, flags = tmp_path / "my-c++", tmp_path / "flags"
    script.write_text(f'#!/bin/sh\nexec {gcc} $(cat {flags}) "$@"\n')
    script.chmod(0o755)
    found = []
    for words in ("-O1", "-O2 -mavx", "-O1"):
        flags.write_text(words)
        found.append(digest_of({"CXX": str(script)}, tmp_path / "index"))
    assert found[0] == found[2] != found[1]


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


def test_what_native_means_here(gcc: str) -> None:
    found = find_cxx({**os.environ, "CXX": gcc}, StatIndex().digest)
    told = found.brings(("-march=native",), {})
    assert told.keys() == {"host"} and "native" not in told["host"]
    assert os.sep not in told["host"], "a path would be another one on another host"
    assert found.brings(("-march=native",), {}) == told
    in_command = find_cxx({**os.environ, "CXX": f"{gcc} -mtune=native"}, StatIndex().digest)
    assert in_command.brings(("-mtune=native",), {}).keys() == {"host"}


# Shared libraries of its programs


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
    assert found["libpart.so"] == str(library) and needs == (NEEDS_LOADER_PATH,)
    assert libraries([gcc], {**env, "LD_LIBRARY_PATH": str(library.parent)})[1] == (), "not needed"
    assert libraries([__file__], env) == ({}, ())


def test_libraries_of_the_compiler_count(gcc: str) -> None:
    names = {name for name, _, _ in find_cxx({**os.environ, "CXX": gcc}, StatIndex().digest).parts}
    loaded = subprocess.run(["ldd", str(shutil.which("as"))], capture_output=True, text=True).stdout
    assert {line.split()[0] for line in loaded.splitlines() if "=> /" in line} <= names
