"""Libraries by the CUDA compiler of this machine; their host code is called."""

import ctypes
import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from aot_build.backends.cuda import BACKEND
from aot_build.core.action import STAGE
from aot_build.core.work import WorkReport

pytestmark = [pytest.mark.nvcc, pytest.mark.compiler, pytest.mark.slow]

TARGET = "cuda:sm_90a"
ONE = """\
#include "n.h"
#include <cassert>
int two();
static __device__ int hidden[N];
namespace { __global__ void k(T* out) { assert(out); out[0] = hidden[N - 1]; } }
extern "C" int launch(T* out) { k<<<1, 1>>>(out); return cudaGetLastError(); }
extern "C" int f() { return N + two(); }
extern "C" const char* file() { return __FILE__; }
"""
TWO = '#include "n.h"\nnamespace { int x = N; }\nint two() { return x; }\n'


def built(
    bench: Any, *source: str, options: Any = (), **asked: Any
) -> tuple[list[dict[str, bytes]], WorkReport]:
    """Perform the stages of a library and then its own action, as the build does.

    What each stage left, and the report of the link.
    """
    options = {"output": "library", **dict(options)}
    asked_for = bench.variant("cuda", *source, options=options, target=TARGET, **asked)
    stages = bench.folder / "stages"
    shutil.rmtree(stages, ignore_errors=True)
    left = []
    for number, stage in enumerate(BACKEND.stages(*asked_for)):
        bench.built(stage)
        shutil.copytree(bench.out, stages / str(number))
        left.append({path.name: path.read_bytes() for path in bench.out.iterdir()})
    objects = sorted(path for path in stages.rglob("*") if path.is_file())
    inputs = tuple((f"{STAGE}/{path.relative_to(stages)}", "") for path in objects)
    bench.roots["stage"] = str(stages)
    return left, bench.built(dataclasses.replace(BACKEND.action(*asked_for), inputs=inputs))


def load(library: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(library))


def two_sources(bench: Any) -> dict[str, Any]:
    bench.write("src/one.cu", ONE)
    bench.write("src/two.cpp", TWO)
    bench.write("inc/n.h", "#define N 21\n")
    return {"row": {"T": "float"}, "include_dirs": ("{project}/inc",)}


def test_device_code_and_host_code_of_several_sources(cuda: Any) -> None:
    left, report = built(cuda, "src/one.cu", "src/two.cpp", **two_sources(cuda))
    assert [list(stage) for stage in left] == [["one.o"], ["two.o"]]
    assert os.listdir(cuda.out) == ["kern.so"]
    assert report.metadata == {"arch": "sm_90a"}
    library = load(cuda.out / "kern.so")
    assert library.f() == 42
    library.file.restype = ctypes.c_char_p
    assert library.file() == b"./src/one.cu"


def test_only_code_for_the_target_is_in_it(cuda: Any) -> None:
    (objects, _), _ = built(cuda, "src/one.cu", "src/two.cpp", **two_sources(cuda))
    assert b"-arch sm_90a" in objects["one.o"]
    assert b".target sm_" not in objects["one.o"]  # PTX


@pytest.mark.parametrize(
    ("mode", "flags"), [("release", ()), ("debug", ()), ("tune", ("-rdc=true",))]
)
def test_two_checkouts_give_the_same_bytes(
    cuda: Any, cuda_elsewhere: Any, mode: str, flags: tuple[str, ...]
) -> None:
    found = []
    for bench in (cuda, cuda_elsewhere):
        more = two_sources(bench)
        (bench.project / "lib").mkdir()
        os.utime(bench.project / "src/one.cu", (len(found) + 1e9, len(found) + 1e9))
        link_flags = ("-L{project}/lib",)
        sources = ("src/one.cu", "src/two.cpp")
        left, _ = built(bench, *sources, mode=mode, flags=flags, link_flags=link_flags, **more)
        found.append((left, (bench.out / "kern.so").read_bytes()))
        toolkit = os.path.dirname(os.path.dirname(bench.toolchains["nvcc"].command[0]))
        for content in (*left[0].values(), *left[1].values(), found[-1][1]):
            assert str(bench.folder).encode() not in content
            assert b"tmpxft" not in content and toolkit.encode() not in content
    assert found[0] == found[1]


def test_each_object_reads_what_its_source_reads(cuda: Any) -> None:
    more = two_sources(cuda)
    asked = cuda.variant(
        "cuda", "src/one.cu", "src/two.cpp", options={"output": "library"}, target=TARGET, **more
    )
    own = []
    for stage in BACKEND.stages(*asked):
        trace = cuda.built(stage).trace
        own.append([path for path in trace.files if path.startswith("{project}")])
        assert "{project}/src/n.h" in trace.missing
    assert own == [
        ["{project}/inc/n.h", "{project}/src/one.cu"],
        ["{project}/inc/n.h", "{project}/src/two.cpp"],
    ]


def test_a_comment_leaves_the_object_as_it_is(cuda: Any) -> None:
    more = two_sources(cuda)
    before, _ = built(cuda, "src/one.cu", "src/two.cpp", **more)
    cuda.write("inc/n.h", "// N is 21\n#define N 21\n")
    after, _ = built(cuda, "src/one.cu", "src/two.cpp", **more)
    assert before == after


def test_libraries_that_are_linked_are_read(cuda: Any) -> None:
    cuda.write("k.cu", 'extern "C" int g(); extern "C" int f() { return g(); }\n')
    cuda.write("g.cpp", 'extern "C" int g() { return 7; }\n')
    (cuda.project / "lib").mkdir()
    compiler = cuda.toolchains["nvcc"].command[2]
    code = os.spawnlp(
        os.P_WAIT, compiler, compiler, "-shared", "-fPIC", str(cuda.project / "g.cpp"), "-o",
        str(cuda.project / "lib/libg.so"),
    )  # fmt: skip
    assert code == 0
    link_flags = ("-L{project}/early", "-L{project}/lib", "-lg", "-Wl,-rpath,{project}/lib")
    _, report = built(cuda, "k.cu", link_flags=link_flags)
    assert load(cuda.out / "kern.so").f() == 7
    assert "{project}/lib/libg.so" in report.trace.files
    assert "{project}/early/libg.so" in report.trace.missing
    assert any(path.endswith("/libcudart_static.a") for path in report.trace.files)


def test_an_error_of_the_linker_is_told(cuda: Any) -> None:
    cuda.write("k.cu", 'extern "C" int f() { return 1; }\n')
    with pytest.raises(AssertionError, match="no_such_library"):
        built(cuda, "k.cu", link_flags=("-lno_such_library",))


def test_objects_are_shared_by_libraries(cuda: Any) -> None:
    """Neither the kernel's name nor what it is linked with is part of an object's key."""
    more: dict[str, Any] = {"options": {"output": "library"}, "target": TARGET}
    variant, configuration = cuda.variant("cuda", "k.cu", **more)
    other = dataclasses.replace(
        variant,
        kernel=dataclasses.replace(variant.kernel, name="another"),
        link_flags=("-lcuda",),
    )
    assert BACKEND.stages(variant, configuration) == BACKEND.stages(other, configuration)
    assert BACKEND.action(variant, configuration) != BACKEND.action(other, configuration)


def test_cubins_have_no_stages(cuda: Any) -> None:
    assert BACKEND.stages(*cuda.variant("cuda", "k.cu", target=TARGET)) == ()
