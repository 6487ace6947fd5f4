"""Cubins by the CUDA compiler of this machine; none of them is launched here."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from aot_build.backends.cuda import BACKEND
from aot_build.backends.cuda.cubin import read_cubin
from aot_build.core.target import parse_target
from aot_build.core.toolchain import Toolchain
from aot_build.errors import EnvironmentProblem, InputError

pytestmark = [pytest.mark.nvcc, pytest.mark.compiler, pytest.mark.slow]

TARGET = "cuda:sm_90a"
KERNEL = 'extern "C" __global__ void k(T* out, int n) { out[n] = T(BLOCK); }\n'
# Everything that is known to carry a path, a time or a name of a process into the result.
LEAKS = """\
#include <lib.h>
#include "n.h"
#include <cassert>
#include <cstdio>
static __device__ int hidden[4];
namespace { __global__ void unnamed(int* p) { p[0] = hidden[threadIdx.x]; } }
extern "C" __global__ void k(int* p, int x) {
    assert(x > 0);
    printf("%s %s", __FILE__, __DATE__);
    p[0] = n(x) + (where() != nullptr);
}
extern "C" int launch(int* p) { unnamed<<<1, 1>>>(p); return cudaGetLastError(); }
extern "C" const char* file() { return __FILE__; }
"""


def leaky(bench: Any) -> tuple[str, ...]:
    """A project with all of it, and an environment beside it; its include-dirs."""
    bench.roots["env"] = str(bench.folder / "environment")
    bench.roots["generated:kern:demo.rows:rows"] = str(bench.folder / "generated")
    for folder, name in ((bench.folder / "environment/include", "lib.h"),):
        folder.mkdir(parents=True)
        (folder / name).write_text("__device__ const char* where() { return __FILE__; }\n")
    (bench.folder / "generated").mkdir()
    (bench.folder / "generated" / "n.h").write_text(
        "__device__ __noinline__ int n(int x) { return x * 3; }\n"
    )
    bench.write("src/k.cu", LEAKS)
    return ("{env}/include", "{generated:kern:demo.rows:rows}")


def test_a_cubin_and_what_launches_it(cuda: Any) -> None:
    cuda.write("k.cu", KERNEL)
    row = {"T": "float", "BLOCK": 64}
    report = cuda.built(cuda.action("cuda", "k.cu", row=row, target=TARGET))
    assert os.listdir(cuda.out) == ["kern.cubin"]
    args = [{"offset": 0, "size": 8}, {"offset": 8, "size": 4}]
    toolkit = ".".join(cuda.toolchains["nvcc"].version.split(".")[:2])
    assert report.metadata == {
        "arch": "sm_90a",
        "warp_size": 32,
        "toolkit": toolkit,
        "symbols": [{"symbol": "k", "file": "kern.cubin", "shared": 0, "args": args}],
        "symbol": "k",
        "shared": 0,
        "args": args,
    }


def test_several_sources_and_several_kernels(cuda: Any) -> None:
    cuda.write("a.cu", 'extern "C" __global__ void a() {} extern "C" __global__ void b() {}')
    cuda.write("c.cu", "template<class U> __global__ void c(U) {} template __global__ void c(int);"
                       'extern "C" __global__ void a(char) {}')  # fmt: skip
    report = cuda.built(cuda.action("cuda", "a.cu", "c.cu", target=TARGET))
    assert sorted(os.listdir(cuda.out)) == ["a.cubin", "c.cubin"]
    found = [(kernel["symbol"], kernel["file"]) for kernel in report.metadata["symbols"]]
    assert found == [("a", "a.cubin"), ("b", "a.cubin"), ("_Z1cIiEvT_", "c.cubin"),
                     ("a", "c.cubin")]  # fmt: skip
    assert "symbol" not in report.metadata


def test_each_value_becomes_a_macro(cuda: Any) -> None:
    values = {
        64: "64", -3: "-3", 0.5: "0.5", "float": "float", "std::pair<int, int>": None,
        '"quoted $HOME"': None, "a `b` $(c), d": None, "": "", True: "1", False: "0",
        None: "undefined",
    }  # fmt: skip
    row = {f"V{n}": value for n, value in enumerate(values)}
    text = "#define TEXT_(...) #__VA_ARGS__\n#define TEXT(x) TEXT_(x)\n"
    for name in row:
        text += f'#ifdef {name}\n__device__ char t{name}[] = "<{name}=" TEXT({name}) ">";\n'
        text += f'#else\n__device__ char t{name}[] = "<{name}=undefined>";\n#endif\n'
    cuda.write("k.cu", text)
    cuda.built(cuda.action("cuda", "k.cu", row=row, target=TARGET))
    content = (cuda.out / "kern.cubin").read_bytes()
    for name, (value, shown) in zip(row, values.items(), strict=True):
        assert f"<{name}={value if shown is None else shown}>".encode() in content


def test_a_column_may_have_the_name_of_a_template_parameter(cuda: Any) -> None:
    """With -D it would end in the templates of cuda_runtime.h."""
    cuda.write("k.cu", KERNEL)
    cuda.built(cuda.action("cuda", "k.cu", row={"T": "double", "BLOCK": 8}, target=TARGET))
    command = [*cuda.toolchains["nvcc"].command, "-DT=double", "-DBLOCK=8", "-cubin", "-o", "x"]
    plain = subprocess.run([*command, cuda.project / "k.cu"], cwd=cuda.out, capture_output=True)
    assert plain.returncode != 0 and b"template" in plain.stdout + plain.stderr


@pytest.mark.parametrize("mode", ["release", "debug", "tune", "fast"])
def test_two_checkouts_give_the_same_bytes(cuda: Any, cuda_elsewhere: Any, mode: str) -> None:
    found = []
    for bench in (cuda, cuda_elsewhere):
        folders = leaky(bench)
        os.utime(bench.project / "src/k.cu", (len(found) + 1e9, len(found) + 1e9))
        action = bench.action("cuda", "src/k.cu", mode=mode, target=TARGET, include_dirs=folders)
        report = bench.built(action)
        found.append(((bench.out / "kern.cubin").read_bytes(), report.metadata, report.trace))
        assert not leaked(found[-1][0], bench)
    assert found[0] == found[1]
    assert b"./src/k.cu" in found[0][0] and b"Jan  1 1980" in found[0][0]


def leaked(content: bytes, bench: Any) -> list[str]:
    """What of this machine, this process and this day stands in an artifact."""
    toolkit = os.path.dirname(os.path.dirname(bench.toolchains["nvcc"].command[0]))
    places = [str(bench.folder), toolkit, "tmpxft", "/kept-"]
    return [place for place in places if place.encode() in content]


def test_lines_of_device_code_are_kept_where_the_mode_asks(cuda: Any) -> None:
    cuda.write("k.cu", KERNEL)
    has: dict[str, list[bool]] = {}
    for mode in ("release", "tune", "debug"):
        row = {"T": "float", "BLOCK": 64}
        cuda.built(cuda.action("cuda", "k.cu", row=row, target=TARGET, mode=mode))
        content = (cuda.out / "kern.cubin").read_bytes()
        has[mode] = [name in content for name in (b".debug_line", b".debug_info")]
    assert has == {"release": [False, False], "tune": [True, False], "debug": [True, True]}


def test_the_key_holds_no_path_of_this_checkout(cuda: Any, cuda_elsewhere: Any) -> None:
    made = []
    for bench in (cuda, cuda_elsewhere):
        inside = f"{bench.project}/x"
        env = {"CPATH": inside, "NVCC_APPEND_FLAGS": f"'-I{inside}/y' -DZ", "UNRELATED": inside}
        more = {
            "flags": (f"-include={inside}",), "link_flags": (f"-L{inside}",),
            "include_dirs": (inside,), "env": env, "target": TARGET,
        }  # fmt: skip
        for output in ("cubin", "library"):
            asked = bench.variant("cuda", "a.cu", options={"output": output}, **more)
            made.append((BACKEND.action(*asked), BACKEND.stages(*asked)))
            assert str(bench.folder) not in repr(made[-1])
    assert made[:2] == made[2:]


def test_flags_of_the_environment_are_flags(cuda: Any) -> None:
    cuda.write("k.cu", '#include "n.h"\nextern "C" __global__ void k(int* p) { *p = N + M; }')
    cuda.write("late/n.h", "#define N 1\n")
    env = {
        "NVCC_PREPEND_FLAGS": "-DM=2 -I{project}/early",
        "NVCC_APPEND_FLAGS": f"-I '{cuda.project}/late'",
    }
    action = cuda.action("cuda", "k.cu", target=TARGET, env=env)
    assert dict(action.env) == {}
    assert "{project}/early/n.h" in cuda.built(action).trace.missing


def test_what_was_read_and_what_was_looked_for(cuda: Any) -> None:
    cuda.write(
        "src/k.cu",
        """\
#include "n.h"
#ifdef __CUDA_ARCH__
#include <device.h>
#else
#include <host.h>
#endif
#if __has_include("maybe.h")
#endif
#include <math_constants.h>
extern "C" __global__ void k(int* p) { *p = N; }
""",
    )
    cuda.write("inc/late dir/n.h", "#define N 21\n")
    cuda.write("inc/late dir/device.h", "")
    cuda.write("inc/late dir/host.h", "")
    action = cuda.action(
        "cuda", "src/k.cu", target=TARGET, include_dirs=("{project}/inc/early",),
        flags=("-isystem", "{project}/inc/late dir", "-Xcompiler=-I{project}/host"),
    )  # fmt: skip
    trace = cuda.built(action).trace
    own = [path for path in trace.files if path.startswith("{project}")]
    late = [f"{{project}}/inc/late dir/{name}.h" for name in ("device", "host", "n")]
    assert own == [*late, "{project}/src/k.cu"]
    absent = {f"{{project}}/{folder}/n.h" for folder in ("inc/early", "src", "host")}
    absent |= {"{project}/inc/early/maybe.h", "{project}/inc/early/math_constants.h"}
    assert absent <= set(trace.missing)
    assert all(os.path.isfile(path.removeprefix("{system}")) for path in trace.files
               if path.startswith("{system}"))  # fmt: skip
    assert not [path for path in (*trace.files, *trace.missing) if "/proc/" in path]


def test_headers_of_the_toolkit_may_have_a_role(cuda: Any) -> None:
    nvcc = Path(cuda.toolchains["nvcc"].command[0])
    cuda.roots["toolchain"] = str(nvcc.parents[1])
    cuda.write("k.cu", "#include <math_constants.h>\n")
    trace = cuda.built(cuda.action("cuda", "k.cu", target=TARGET)).trace
    headers = [path for path in trace.files if path.endswith("/math_constants.h")]
    assert headers and all(path.startswith("{toolchain}/") for path in headers)


def test_an_error_is_what_the_compiler_says(cuda: Any) -> None:
    cuda.write("src/k.cu", "__global__ void k() { nowhere(); }\n")
    text = cuda.error(cuda.action("cuda", "src/k.cu", target=TARGET))
    assert f"{cuda.project}/src/k.cu(1): error" in text and "nowhere" in text
    assert os.listdir(cuda.out) == []


def test_more_shared_memory_than_there_is_fails(cuda: Any) -> None:
    cuda.write("k.cu", 'extern "C" __global__ void k(int* p) {'
                       "__shared__ int s[1 << 16]; s[*p] = 1; *p = s[p[1]]; }")  # fmt: skip
    assert "shared" in cuda.error(cuda.action("cuda", "k.cu", target=TARGET))


def test_relocatable_code_is_no_cubin(cuda: Any) -> None:
    cuda.write("k.cu", 'extern "C" __global__ void k() {}')
    text = cuda.error(cuda.action("cuda", "k.cu", target=TARGET, flags=("-rdc=true",)))
    assert "kern.cubin is relocatable" in text and 'output = "library"' in text


def test_what_is_no_cubin(cuda: Any) -> None:
    cuda.write("host.cpp", "int host();")
    text = cuda.error(cuda.action("cuda", "host.cpp", target=TARGET))
    assert "nvcc left no cubin in kern.cubin" in text


def test_a_cubin_that_was_cut_off_is_told(cuda: Any) -> None:
    cuda.write("k.cu", KERNEL)
    row = {"T": "float", "BLOCK": 64}
    cuda.built(cuda.action("cuda", "k.cu", row=row, target=TARGET))
    whole = (cuda.out / "kern.cubin").read_bytes()
    for end in range(0, len(whole) // 2, 97):
        with pytest.raises(ValueError, match="it "):
            read_cubin(whole[:end])
    with pytest.raises(ValueError, match="another format"):
        read_cubin(Path(cuda.toolchains["nvcc"].command[0]).read_bytes())


def test_flags_that_are_the_host_compilers_reach_it(cuda: Any) -> None:
    cuda.write("k.cu", "#ifndef _OPENMP\n#error without\n#endif\n")
    for flags in (("-fopenmp",), ("-Xcompiler=-fopenmp",), ("-Xcompiler", "-fopenmp")):
        cuda.built(cuda.action("cuda", "k.cu", target=TARGET, flags=flags))
    for flags in ((), ("-fno-such",)):
        text = cuda.error(cuda.action("cuda", "k.cu", target=TARGET, flags=flags))
        assert "without" in text or "-fno-such" in text


def test_the_language_standard(cuda: Any) -> None:
    cuda.write("k.cu", "static_assert(__cplusplus == 202002L);\n")
    cuda.built(cuda.action("cuda", "k.cu", target=TARGET, options={"standard": "c++20"}))
    assert "static assert" in cuda.error(cuda.action("cuda", "k.cu", target=TARGET))


def test_declared_environment_reaches_the_compiler(cuda: Any) -> None:
    cuda.write("k.cu", "#include <n.h>\nstatic_assert(N == 8);\n")
    env = {"C_INCLUDE_PATH": "", "CPLUS_INCLUDE_PATH": "{project}/inc"}
    cuda.write("inc/n.h", "#define N 8\n")
    report = cuda.built(cuda.action("cuda", "k.cu", target=TARGET, spec_env=env))
    assert "{project}/inc/n.h" in report.trace.files


def test_two_sources_of_one_name(cuda: Any) -> None:
    with pytest.raises(InputError) as caught:
        cuda.action("cuda", "a/k.cu", "b/k.cu", target=TARGET)
    assert str(caught.value) == (
        "2 sources of kernel 'kern' would leave k.cubin (input)\n"
        "  sources: {project}/a/k.cu, {project}/b/k.cu\n"
        'hint: rename one of them, or set output = "library"'
    )
    cuda.action("cuda", "a/k.cu", "b/k.cu", target=TARGET, options={"output": "library"})


def test_an_architecture_that_this_compiler_does_not_know(cuda: Any) -> None:
    old = "cuda:sm_70"
    if "sm_70" in cuda.toolchains["nvcc"].features:
        pytest.skip("needs a CUDA compiler of release 13 or later")
    with pytest.raises(EnvironmentProblem) as caught:
        cuda.action("cuda", "k.cu", target=old)
    first, *_, last = str(caught.value).splitlines()
    version = cuda.toolchains["nvcc"].version
    assert first == f"nvcc {version} does not compile for sm_70 (environment)"
    assert last.startswith("hint: drop cuda:sm_70 from [tool.aot-build] targets")


def test_only_gpus_of_nvidia_are_served() -> None:
    served = [t for t in ("cpu", "cuda:sm_90", "hip:gfx942") if BACKEND.serves(parse_target(t))]
    assert served == ["cuda:sm_90"]


# Cubins as the compiler itself describes them

SHAPES = """\
struct Large { char c[5000]; }; struct Small { short a, b, c; };
extern "C" __global__ void large(int n, Large s, short z, int* o) {
    __shared__ int q[64];
    q[threadIdx.x] = s.c[n];
    __syncthreads();
    *o = q[n] + z;
}
extern "C" __global__ void small(char a, Small b, double c, int* o) { *o = a + b.c + int(c); }
extern "C" __global__ void none() {}
extern "C" __global__ void dynamic(int* o) { extern __shared__ int s[]; s[*o] = 1; *o = s[o[1]]; }
static __global__ void inner(int* o) { __shared__ int s[32]; s[*o] = 1; *o = s[o[1]]; }
void use() { inner<<<1, 1>>>(nullptr); }
"""
PARAMS = {
    "large": ((0, 4), (4, 5000), (5004, 2), (5008, 8)),
    "small": ((0, 1), (2, 6), (8, 8), (16, 8)),
    "none": (),
    "dynamic": ((0, 8),),
    "_Z5innerPi": ((0, 8),),
}


@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90", "sm_90a", "sm_100f", "sm_120"])
def test_a_cubin_is_read_as_ptxas_describes_it(tmp_path: Path, nvcc: Toolchain, arch: str) -> None:
    if arch.rstrip("af") not in nvcc.features:
        pytest.skip(f"needs a CUDA compiler that knows {arch}")
    (tmp_path / "k.cu").write_text(SHAPES)
    code = f"-gencode=arch={arch.replace('sm', 'compute')},code={arch}"
    said = subprocess.run(
        [*nvcc.command, code, "-Xptxas", "-v", "-cubin", "k.cu", "-o", "k.cubin"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip
    found = read_cubin((tmp_path / "k.cubin").read_bytes())
    assert {name: kernel.params for name, kernel in found.kernels.items()} == PARAMS
    assert [name for name, kernel in found.kernels.items() if kernel.local] == ["_Z5innerPi"]
    told = {}
    for part in said.split("Compiling entry function ")[1:]:
        size = re.search(r"(\d+) bytes smem", part)
        told[part.split("'")[1]] = int(size[1]) if size else 0
    assert {name: kernel.shared for name, kernel in found.kernels.items()} == told
    assert told["large"] == 256
    assert found.toolkit == ".".join(nvcc.version.split(".")[:2]) and not found.relocatable
