"""The C++ backend with the compiler of this machine."""

import ctypes
import dataclasses
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from aot_build.core.action import Action
from aot_build.core.toolchain import Toolchain
from aot_build.errors import InputError
from aot_build.files import StatIndex
from aot_build.toolchains.cxx import find_cxx

pytestmark = pytest.mark.compiler

PROBE = """
#ifdef VALUE
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
extern "C" const char* value() { return TEXT(VALUE); }
#else
extern "C" const char* value() { return "undefined"; }
#endif
"""


def call(library: Path, name: str, kind: Any = ctypes.c_int) -> Any:
    function = getattr(ctypes.CDLL(str(library)), name)
    function.restype = kind
    return function()


def test_each_value_becomes_a_macro(compiling: Any) -> None:
    values = {
        64: b"64", -3: b"-3", 0.5: b"0.5", 1e-20: b"1e-20", "float": b"float",
        "std::pair<int, int>": b"std::pair<int, int>", '"quoted $HOME"': b'"quoted $HOME"',
        "": b"", True: b"1", False: b"0", None: b"undefined",
    }  # fmt: skip
    rows = [f"V{n}" for n in range(len(values))]
    text = "#define TEXT_(...) #__VA_ARGS__\n#define TEXT(x) TEXT_(x)\n"
    for name in rows:
        text += f'#ifdef {name}\nextern "C" const char* f{name}() {{ return TEXT({name}); }}\n'
        text += f'#else\nextern "C" const char* f{name}() {{ return "undefined"; }}\n#endif\n'
    compiling.write("a.cpp", text)
    compiling.built(compiling.action("cpp", "a.cpp", row=dict(zip(rows, values, strict=True))))
    got = [call(compiling.out / "kern.so", f"f{name}", ctypes.c_char_p) for name in rows]
    assert got == list(values.values())
    assert os.listdir(compiling.out) == ["kern.so"]


@pytest.mark.parametrize("name", ["1X", "A-B", "a b", "", "A=1", "é!"])
def test_a_column_that_is_no_macro_is_refused(compiling: Any, name: str) -> None:
    with pytest.raises(InputError, match="cannot be a C\\+\\+ macro") as caught:
        compiling.action("cpp", "a.cpp", row={name: 1})
    assert caught.value.fields["kernel"] == "kern"


@pytest.mark.parametrize("value", [(1, 2), "two\nlines"])
def test_a_value_that_is_no_macro_is_refused(compiling: Any, value: Any) -> None:
    with pytest.raises(InputError, match="value of column 'X'"):
        compiling.action("cpp", "a.cpp", row={"X": value})


def test_several_sources_headers_and_what_was_read(compiling: Any) -> None:
    compiling.write("src/a.cpp", '#include "n.h"\nint two(); extern "C" int f(){return N+two();}')
    compiling.write("src/b.cpp", '#include "n.h"\nnamespace { int x = N; } int two(){return x;}')
    compiling.write("inc/late dir/n.h", "#define N 21\n")
    folders = ("{project}/inc/early", "{project}/inc/late dir")
    action = compiling.action("cpp", "src/a.cpp", "src/b.cpp", include_dirs=folders)
    trace = compiling.built(action).trace
    assert call(compiling.out / "kern.so", "f") == 42
    own = [path for path in trace.files if path.startswith("{project}")]
    assert own == ["{project}/inc/late dir/n.h", "{project}/src/a.cpp", "{project}/src/b.cpp"]
    assert {"{project}/inc/early/n.h", "{project}/src/n.h"} <= set(trace.missing)


def test_folders_from_flags_and_environment_are_searched_too(compiling: Any) -> None:
    compiling.write("a.cpp", '#include "n.h"\nextern "C" int f(){return N;}')
    compiling.write("last/n.h", "#define N 3\n")
    action = compiling.action(
        "cpp", "a.cpp", flags=("-I{project}/first", "-isystem", "{project}/last"),
        env={"CPATH": f"{compiling.project}/middle"},
    )  # fmt: skip
    assert dict(action.env) == {"CPATH": "{project}/middle"}
    absent = compiling.built(action).trace.missing
    assert {"{project}/first/n.h", "{project}/middle/n.h", "{project}/n.h"} <= set(absent)


def test_an_error_is_what_the_compiler_says(compiling: Any) -> None:
    compiling.write("a.cpp", "int f() { return nowhere; }\n")
    text = compiling.error(compiling.action("cpp", "a.cpp"))
    assert "a.cpp:1" in text and "nowhere" in text
    assert os.listdir(compiling.out) == []


def test_an_error_of_the_linker_is_told(compiling: Any) -> None:
    compiling.write("a.cpp", 'extern "C" int f() { return 1; }\n')
    action = compiling.action("cpp", "a.cpp", link_flags=("-lno_such_library",))
    assert "no_such_library" in compiling.error(action)


@pytest.mark.parametrize("mode", ["release", "debug"])
def test_two_checkouts_give_the_same_bytes(
    compiling: Any, compiling_elsewhere: Any, mode: str
) -> None:
    content = []
    for bench in (compiling, compiling_elsewhere):
        bench.roots["env"] = str(bench.folder / "environment")
        header = bench.folder / "environment" / "include" / "lib.h"
        header.parent.mkdir(parents=True)
        header.write_text("inline const char* where() { return __FILE__; }\n")
        bench.write("inc/n.h", "inline int n(int x) { return x * 3; }\n")
        source = (
            "#include <lib.h>\n#include <n.h>\n#include <cassert>\n"
            "namespace { int hidden(int x) { assert(x); return n(x); } }\n"
            'extern "C" const char* f(int x) { return hidden(x) ? where() : __DATE__; }\n'
        )
        bench.write("src/a.cpp", source)
        # Without a public symbol gcc names the constructor after the file.
        bench.write("src/b.cpp", "#include <cstdio>\nnamespace { int said = puts(__FILE__); }\n")
        folders, sources = ("{env}/include", "{project}/inc"), ("src/a.cpp", "src/b.cpp")
        bench.built(bench.action("cpp", *sources, mode=mode, include_dirs=folders))
        content.append((bench.out / "kern.so").read_bytes())
        assert str(bench.folder).encode() not in content[-1]
    assert content[0] == content[1]


def test_the_key_holds_no_path_of_this_checkout(compiling: Any, compiling_elsewhere: Any) -> None:
    made = []
    for bench in (compiling, compiling_elsewhere):
        inside = f"{bench.project}/x"
        made.append(
            bench.action(
                "cpp", "a.cpp", flags=(f"-include{inside}",), link_flags=(f"-L{inside}",),
                include_dirs=(inside,), env={"CPATH": inside, "UNRELATED": inside},
            )
        )  # fmt: skip
        assert str(bench.folder) not in repr(made[-1])
    assert made[0] == made[1]


def test_openmp_where_the_compiler_has_it(compiling: Any, cxx: Toolchain) -> None:
    compiling.write(
        "a.cpp",
        "#ifdef _OPENMP\n#include <omp.h>\n"
        'extern "C" int f(){int n=0;\n#pragma omp parallel num_threads(2)\n'
        "{\n#pragma omp atomic\nn++;\n}\nreturn n;}\n"
        '#else\nextern "C" int f(){return -1;}\n#endif\n',
    )
    compiling.built(compiling.action("cpp", "a.cpp", options={"openmp": True}))
    assert call(compiling.out / "kern.so", "f") == (2 if "openmp" in cxx.features else -1)
    compiling.toolchains = {"cxx": dataclasses.replace(cxx, features=())}
    without = compiling.action("cpp", "a.cpp", options={"openmp": True})
    assert dict(without.params)["openmp"] is False


def test_the_target_names_the_instruction_set(compiling: Any) -> None:
    action = compiling.action("cpp", "a.cpp", target="cpu:x86-64-v3")
    assert "-march=x86-64-v3" in dict(action.params)["flags"]
    if os.uname().machine != "x86_64":
        pytest.skip("needs an x86-64 compiler to compile for it")
    compiling.write("a.cpp", 'extern "C" int f() {\n#ifdef __AVX2__\nreturn 2;\n#endif\nreturn 0;}')
    compiling.built(action)
    assert call(compiling.out / "kern.so", "f") == 2


def test_the_language_standard_and_flags(compiling: Any) -> None:
    compiling.write("a.cpp", 'extern "C" long f() { return __cplusplus + EXTRA; }\n')
    options = {"standard": "c++20"}
    compiling.built(compiling.action("cpp", "a.cpp", options=options, flags=("-DEXTRA=5",)))
    assert call(compiling.out / "kern.so", "f", ctypes.c_long) == 202002 + 5


def test_declared_environment_reaches_the_compiler(compiling: Any) -> None:
    compiling.write("a.cpp", '#include <n.h>\nextern "C" int f(){return N;}')
    compiling.write("cpu/inc/n.h", "#define N 8\n")
    compiling.built(compiling.action("cpp", "a.cpp", spec_env={"CPATH": "{project}/{target}/inc"}))
    assert call(compiling.out / "kern.so", "f") == 8


def test_other_variables_do_not(compiling: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compiling.write("a.cpp", '#include <n.h>\nextern "C" int f(){return N;}')
    compiling.write("inc/n.h", "#define N 8\n")
    monkeypatch.setenv("CPATH", f"{compiling.project}/inc")
    assert "n.h" in compiling.error(compiling.action("cpp", "a.cpp", env={}))


def test_a_killed_compiler_is_told(compiling: Any, tmp_path: Path) -> None:
    wrapper = tmp_path / "g++"
    wrapper.write_text("#!/bin/sh\nkill -9 $$\n")
    wrapper.chmod(0o755)
    action: Action = dataclasses.replace(compiling.action("cpp", "a.cpp"), command=(str(wrapper),))
    with pytest.raises(AssertionError, match=r"ProgramDied: \S*/g\+\+ was ended by SIGKILL"):
        compiling.perform(action)


def test_clang_compiles_too(compiling: Any) -> None:
    if not shutil.which("clang++"):
        pytest.skip("needs clang++")
    found = find_cxx({**os.environ, "CXX": "clang++"}, StatIndex().digest)
    compiling.toolchains = {"cxx": found}
    compiling.write("a.cpp", PROBE)
    compiling.built(compiling.action("cpp", "a.cpp", row={"VALUE": 3}))
    assert call(compiling.out / "kern.so", "value", ctypes.c_char_p) == b"3"


def test_debug_keeps_lines_and_release_keeps_no_assertions(compiling: Any) -> None:
    compiling.write("a.cpp", '#include <cassert>\nextern "C" int f(int x){assert(x>0);return x;}')
    found = {}
    for mode in ("debug", "release"):
        compiling.built(compiling.action("cpp", "a.cpp", mode=mode))
        found[mode] = (compiling.out / "kern.so").read_bytes()
    assert b"x>0" in found["debug"] and b".debug_line" in found["debug"]
    assert b"x>0" not in found["release"] and b".debug_line" not in found["release"]


def test_only_declared_files_are_needed(compiling: Any) -> None:
    """What the trace names is all there is: gcc itself agrees."""
    compiling.write("a.cpp", '#include <vector>\nextern "C" int f(){return 1;}')
    action = compiling.action("cpp", "a.cpp")
    trace = compiling.built(action).trace
    listed = subprocess.run(
        [*action.command, "-M", "-std=c++17", str(compiling.project / "a.cpp")],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    headers = {os.path.normpath(w) for w in listed.split() if w.endswith(".h") and w[0] == "/"}
    assert headers <= {path.removeprefix("{system}") for path in trace.files}
