"""What reaches a compiler, and what of it is keyed: variables, features of this host, programs."""

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aot_build.core.action import Action
from aot_build.core.compiler_env import NEEDS_LOADER_PATH, OBEYED
from aot_build.core.toolchain import Toolchain
from aot_build.files import StatIndex
from aot_build.toolchains.cxx import find_cxx
from tests.backends.conftest import Bench

pytestmark = pytest.mark.compiler


JUNK = {
    "DEPENDENCIES_OUTPUT": "made.d", "SUNPRO_DEPENDENCIES": "made.s", "LANG": "de_DE.UTF-8",
    "LC_ALL": "de_DE.UTF-8", "LC_MESSAGES": "de_DE.UTF-8", "LANGUAGE": "de",
    "GCC_COLORS": "error=01", "LD_LIBRARY_PATH": "/nowhere", "LD_RUN_PATH": "/nowhere",
    "HOME": "/nowhere",
    "TMPDIR": "/nowhere", "MAKEFLAGS": "-j8", "SYSROOT": "/nowhere", "CXXFLAGS": "-O1",
    "CCC_OVERRIDE_OPTIONS": "+-O1", "SOME_LIBRARY_DEBUG": "1", "CCACHE_DIR": "/nowhere",
}  # fmt: skip

NO_FOLDERS = ("GCC_COMPARE_DEBUG", "GCC_EXEC_PREFIX")
"""With any folder in them no compiler works."""


@pytest.fixture
def telling(compiling: Any, tmp_path: Path) -> Path:
    """The compiler of `compiling` becomes a script that keeps the environments that it sees."""
    script = tmp_path / "wrapped" / "c++"
    script.parent.mkdir()
    gcc = compiling.toolchains["cxx"].command[0]
    script.write_text(f'#!/bin/sh\nenv >> {script.parent}/seen\nexec {gcc} "$@"\n')
    script.chmod(0o755)
    return script


def seen_by(script: Path) -> dict[str, set[str]]:
    """Every variable that a script saw, with its values; the shell's own are left out."""
    found: dict[str, set[str]] = {}
    for line in (script.parent / "seen").read_text().splitlines():
        name, _, value = line.partition("=")
        found.setdefault(name, set()).add(value)
    (script.parent / "seen").unlink()
    return {n: v for n, v in found.items() if n not in ("PWD", "OLDPWD", "SHLVL", "_")}


def test_nothing_but_the_allow_list_reaches_a_compiler(
    compiling: Any, telling: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in JUNK.items():
        if name not in ("HOME", "TMPDIR"):
            monkeypatch.setenv(name, value)
    obeyed = {name: str(tmp_path) for name in OBEYED if name not in NO_FOLDERS}
    fixed = {"LC_ALL": {"C.UTF-8"}, "CCACHE_DISABLE": {"1"}}
    compiling.write("a.cpp", 'extern "C" const char* date() { return __DATE__; }\n')
    for around in ({}, obeyed):
        env = {**os.environ, **JUNK, **around}
        compiling.toolchains = {"cxx": find_cxx({**env, "CXX": str(telling)}, StatIndex().digest)}
        asked = seen_by(telling)
        action = compiling.action("cpp", "a.cpp", env=env)
        assert dict(action.env) == around, "all of it is keyed"
        compiling.built(action)
        compiled = seen_by(telling)
        for seen in (asked, compiled):
            assert {n: seen[n] for n in fixed} == fixed
            assert seen.keys() == {*fixed, "PATH", "HOME", "TMPDIR", "SOURCE_DATE_EPOCH", *around}
        scratch = str(compiling.folder / "scratch")
        assert compiled["HOME"] == compiled["TMPDIR"] == {scratch}
        assert "/nowhere" not in asked["HOME"] | asked["TMPDIR"]
        assert b"Jan  1 1980" in (compiling.out / "kern.so").read_bytes()


def test_a_library_path_reaches_and_keys_what_needs_it(compiling: Any, telling: Path) -> None:
    env, cxx = {"LD_LIBRARY_PATH": f"{compiling.project}/lib"}, compiling.toolchains["cxx"]
    assert compiling.action("cpp", "a.cpp", env=env).env == ()
    needing = dataclasses.replace(cxx, features=(*cxx.features, NEEDS_LOADER_PATH))
    compiling.toolchains = {"cxx": dataclasses.replace(needing, command=(str(telling),))}
    action = compiling.action("cpp", "a.cpp", env=env)
    assert dict(action.env) == {"LD_LIBRARY_PATH": "{project}/lib"}
    compiling.write("a.cpp", "int f;\n")
    compiling.built(action)
    assert seen_by(telling)["LD_LIBRARY_PATH"] == {env["LD_LIBRARY_PATH"]}


def test_the_date_of_the_build_and_that_of_a_kernel(
    compiling: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiling.write("a.cpp", 'extern "C" const char* date() { return __DATE__; }\n')
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    report = compiling.built(compiling.action("cpp", "a.cpp", env=os.environ))
    assert report.trace.env == ("SOURCE_DATE_EPOCH",), "nobody knows whether it was looked up"
    assert b"Nov 14 2023" in (compiling.out / "kern.so").read_bytes()
    declared = {"SOURCE_DATE_EPOCH": "1600000000"}
    action = compiling.action(
        "cpp", "a.cpp", spec_env=declared, env={"SOURCE_DATE_EPOCH": "1700000000"}
    )
    assert dict(action.env) == declared
    assert compiling.built(action).trace.env == ()
    assert b"Sep 13 2020" in (compiling.out / "kern.so").read_bytes()


NATIVE_SCRIPT = """#!/bin/sh
# Shows, of -march=native, what the file `cpu` beside it says that this host has.
case "$*" in
*=native*-v*) echo " /usr/lib/cc1plus -E -march=$(cat "$(dirname "$0")/cpu") /dev/null" >&2 ;;
*) exec {gcc} "$@" ;;
esac
"""


@pytest.fixture
def hosts(compiling: Any, tmp_path: Path) -> Callable[..., Action]:
    """The action of a variant on a host with these features."""
    script = tmp_path / "hosts" / "c++"
    script.parent.mkdir()
    gcc = compiling.toolchains["cxx"].command[0]
    script.write_text(NATIVE_SCRIPT.format(gcc=gcc))
    script.chmod(0o755)

    @functools.cache
    def found(cpu: str, words: str) -> Toolchain:
        return find_cxx({**os.environ, "CXX": f"{script} {words}"}, StatIndex().digest)

    def on(cpu: str, words: str = "", **asked: Any) -> Action:
        (script.parent / "cpu").write_text(cpu)
        compiling.toolchains = {"cxx": found(cpu, words)}
        action: Action = compiling.action("cpp", "a.cpp", **asked)
        return action

    return on


def test_what_native_means_is_keyed_where_it_is_used(
    compiling: Any, hosts: Callable[..., Action]
) -> None:
    compiling.write("words", "-O2 '-mtune=native'")
    compiling.write("more", f"@{compiling.project}/words")
    used: tuple[dict[str, Any], ...] = (
        {"flags": ("-march=native",)}, {"flags": ("-O2", "-mtune=native")},
        {"flags": ("-mcpu=native",)}, {"flags": ("@{project}/more",)},
        {"link_flags": ("-march=native",)}, {"words": "-march=native"},
        {"spec_env": {"CCC_OVERRIDE_OPTIONS": "+-march=native ^-O1"}},
    )  # fmt: skip
    for asked in used:
        one, again, other = hosts("zen3", **asked), hosts("zen3", **asked), hosts("zen5", **asked)
        assert one == again != other, asked
        assert dict(one.params)["host"] == "-E -march=zen3"
    unused: tuple[dict[str, Any], ...] = (
        {}, {"flags": ("-march=x86-64-v3", "-DX=native")}, {"flags": ("@{project}/absent",)},
    )  # fmt: skip
    for asked in unused:
        assert hosts("zen3", **asked) == hosts("zen5", **asked)
        assert "host" not in dict(hosts("zen3", **asked).params)


def test_what_a_kernel_has_its_compiler_run_is_keyed(compiling: Any) -> None:
    assembler = compiling.project / "tools" / "as"
    chosen: tuple[dict[str, Any], ...] = (
        {"flags": ("-B{project}/tools/",)}, {"flags": ("-B", "{project}/tools/")},
        {"spec_env": {"COMPILER_PATH": "{project}/tools"}},
    )  # fmt: skip
    plain = compiling.action("cpp", "a.cpp")
    assert "programs" not in dict(plain.params)
    keyed = []
    for content in ("one", "two", "one"):
        compiling.write("tools/as", content)
        assembler.chmod(0o755)
        compiling.toolchains = {"cxx": find_cxx(os.environ, StatIndex().digest)}
        actions = [compiling.action("cpp", "a.cpp", **asked) for asked in chosen]
        keyed.append([dict(action.params)["programs"] for action in actions])
    assert keyed[0] == keyed[2]
    assert all(one != two for one, two in zip(*keyed[:2], strict=True))


HOST = Toolchain(
    "nvcc", "13", "d" * 32, ("/cuda/nvcc", "-ccbin", "/usr/bin/g++"), ("sm_90",),
    brings=lambda words, env: {"host": " ".join(words), **env},
)  # fmt: skip


def test_words_that_are_wrapped_for_the_host_compiler(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "bench", {"nvcc": HOST})
    bench.write("words", "-Xcompiler -O2,-march=native")
    usual = "-ccbin=/usr/bin/g++"
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, usual),
        ({"flags": ("-Xcompiler=-march=native,-O2",)}, f"{usual} -march=native"),
        ({"flags": ("-Xcompiler", "-mtune=native")}, f"{usual} -mtune=native"),
        ({"flags": ("--compiler-options", "-m32")}, f"{usual} -m32"),
        ({"flags": ("--options-file", "{project}/words")}, f"{usual} -march=native"),
        ({"flags": ("-optf={project}/words",)}, f"{usual} -march=native"),
        ({"env": {"NVCC_APPEND_FLAGS": "-Xcompiler -march=native"}}, f"{usual} -march=native"),
        ({"spec_env": {"NVCC_PREPEND_FLAGS": "-arch native"}}, f"{usual} -arch=native"),
        ({"flags": ("-ccbin", "/usr/bin/g++-9")}, f"{usual} -ccbin=/usr/bin/g++-9"),
        ({"flags": ("-arch=sm_90", "-march=x86-64")}, usual),
    )
    for asked, host in cases:
        action = bench.action("cuda", "a.cu", target="cuda:sm_90", **asked)
        assert dict(action.params)["host"] == host, asked
