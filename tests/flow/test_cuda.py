"""CUDA kernels, built by the real driver: what is rebuilt, what is not, and stages."""

import ctypes
import json
import shutil
from pathlib import Path

import pytest

from aot_build.files import StatIndex
from aot_build.toolchains.cxx import find_cxx
from aot_build.toolchains.nvcc import find_nvcc

pytestmark = [pytest.mark.nvcc, pytest.mark.compiler, pytest.mark.slow]

PYPROJECT = """\
[tool.aot-build]
package = "demo"
targets = ["cuda:sm_80", "cuda:sm_90a"]

[[tool.aot-build.kernels]]
name = "scale"
backend = "cuda"
source = "demo/scale.cu"
include-dirs = ["demo/first", "demo/include"]
configs = [{ T = "float", BLOCK = 64 }]

[[tool.aot-build.kernels]]
name = "shift"
backend = "cuda"
output = "library"
source = ["demo/shift.cu", "demo/grid.cpp"]
include-dirs = ["demo/include"]
configs = [{ T = "float" }]
targets = ["cuda:sm_90a"]
"""
FILES = {
    "pyproject.toml": PYPROJECT,
    "demo/__init__.py": "",
    "demo/first/.keep": "",
    "demo/include/factor.h": "#define FACTOR 2\n",
    "demo/scale.cu": (
        '#include "factor.h"\n'
        "namespace { __device__ T times(T x) { return x * FACTOR; } }\n"
        'extern "C" __global__ void scale(T* x) {\n'
        "#if __has_include(<tuned.h>)\n    x[1] = 0;\n#endif\n"
        "    x[threadIdx.x % BLOCK] = times(x[threadIdx.x]);\n}\n"
    ),
    "demo/shift.cu": (
        '#include "factor.h"\n'
        "int blocks(int n);\n"
        "namespace { __global__ void shift(T* x) { x[threadIdx.x] += FACTOR; } }\n"
        'extern "C" int launch(T* x) { shift<<<blocks(7), 4>>>(x); return cudaGetLastError(); }\n'
        'extern "C" int answer() { return blocks(7); }\n'
    ),
    "demo/grid.cpp": "int blocks(int n) { return (n + 3) / 4; }\n",
}
VARIANTS = 3


@pytest.fixture
def cuda(new_project):
    """The project; `new_project("name", FILES)` makes another checkout of it."""
    if not shutil.which("g++"):
        pytest.skip("needs a C++ compiler")
    project = new_project("cuda", FILES)
    digest = StatIndex().digest
    find_nvcc(project.env, digest, find_cxx(project.env, digest))
    return project


def reran(summary) -> dict[str, int]:
    found: dict[str, int] = {}
    for miss in summary["misses"]:
        found[miss["kernel"]] = found.get(miss["kernel"], 0) + 1
    return found


def library(project) -> ctypes.CDLL:
    (path,) = project.result.rglob("*.so")
    return ctypes.CDLL(str(path))


def test_built_once_and_shared_by_checkouts(cuda, new_project):
    first = cuda.build()
    assert (first["executed"], first["hits"], first["helpers"]) == (VARIANTS, 0, 2)
    again = cuda.build()
    assert (again["executed"], again["hits"]) == (0, VARIANTS)
    assert library(cuda).answer() == 2
    other = new_project("elsewhere/and/deeper", FILES)
    assert other.build()["executed"] == 0
    assert other.artifacts() == cuda.artifacts()


def test_another_checkout_without_a_cache_gives_the_same_bytes(cuda, new_project, tmp_path):
    cuda.build()
    other = new_project("else where, and deeper", FILES)
    other.env["AOT_BUILD_CACHE_DIR"] = str(tmp_path / "other cache")
    assert other.build()["executed"] == VARIANTS
    assert other.artifacts() == cuda.artifacts()


def test_the_manifest_says_how_to_launch(cuda):
    cuda.build()
    manifest = json.loads((cuda.result / "manifest.json").read_text())
    (wide,) = (
        variant["metadata"]
        for variant in manifest["kernels"]["scale"]["variants"]
        if variant["target"] == "cuda:sm_90a"
    )
    assert (wide["symbol"], wide["arch"], wide["shared"]) == ("scale", "sm_90a", 0)
    assert wide["args"] == [{"offset": 0, "size": 8}]
    assert [t["name"] for t in manifest["toolchains"].values()] == ["nvcc"]


@pytest.mark.parametrize(
    ("name", "old", "new", "kernels"),
    [
        ("demo/include/factor.h", "2", "5", {"scale": 2, "shift": 1}),
        ("demo/shift.cu", "+= FACTOR", "-= FACTOR", {"shift": 1}),
        ("pyproject.toml", "BLOCK = 64", "BLOCK = 32", {"scale": 2}),
    ],
)
def test_an_edit_runs_what_it_reaches(cuda, name, old, new, kernels):
    cuda.build()
    cuda.edit(name, old, new)
    assert reran(cuda.build()) == kernels
    assert cuda.build()["executed"] == 0


def test_headers_that_appear_earlier_or_are_asked_for_are_seen(cuda):
    cuda.build()
    before = cuda.artifacts()
    for header in ("demo/first/factor.h", "demo/include/tuned.h"):
        cuda.write({header: "#define FACTOR 7\n"})
        assert reran(cuda.build()) == {"scale": 2}
        assert cuda.artifacts() != before
        (cuda.path / header).unlink()
        assert cuda.build()["executed"] == 0
        assert cuda.artifacts() == before


def test_one_edited_source_compiles_one_object(cuda, tmp_path):
    cuda.build()
    cached = set(Path(tmp_path / "cache/actions-v1").rglob("*"))
    cuda.edit("demo/grid.cpp", "n + 3", "n + 9")
    summary = cuda.build()
    assert reran(summary) == {"shift": 1} and library(cuda).answer() == 4
    young = [p for p in Path(tmp_path / "cache/actions-v1").rglob("*") if p.is_file()]
    assert len(set(young) - cached) == 2, "an object, and the link"


def test_an_object_of_the_same_bytes_is_not_linked_again(cuda):
    cuda.build()
    cuda.edit("demo/grid.cpp", "int blocks", "// Rounds up.\nint blocks")
    summary = cuda.build()
    assert (summary["executed"], summary["hits"]) == (0, VARIANTS)
    assert cuda.build()["executed"] == 0


def test_a_source_that_does_not_compile(cuda):
    cuda.edit("demo/shift.cu", "threadIdx", "nowhere")
    ended = cuda.command("build", "--json", "--keep-going")
    summary = json.loads(ended.stdout.splitlines()[-1])
    assert ended.returncode == 1 and (summary["failed"], summary["executed"]) == (1, 2)
    (failure,) = summary["failures"]
    assert failure["kernel"] == "shift" and "nowhere" in failure["reason"]
    assert f"{cuda.path}/demo/shift.cu(3)" in failure["reason"]


def test_verify_builds_the_same_bytes_again(cuda):
    cuda.build()
    checked = cuda.command("verify", "--all")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{VARIANTS} variants built again" in checked.stdout


def test_damaged_artifacts_of_stages_are_made_again(cuda, tmp_path):
    cuda.build()
    before = cuda.artifacts()
    for blob in (tmp_path / "cache" / "cas-v1").glob("*/*"):
        # Objects, and not what they were linked into: e_type ET_REL of the ELF header.
        if blob.read_bytes()[:4] == b"\x7fELF" and blob.read_bytes()[16] == 1:
            blob.chmod(0o644)
            blob.write_bytes(b"damaged")
    cuda.edit("pyproject.toml", 'output = "library"', 'output = "library"\nlink-flags = ["-g"]')
    summary = cuda.build()
    assert [m["kernel"] for m in summary["misses"]] == ["shift"]
    assert summary["failed"] == 0
    assert set(cuda.artifacts()) == set(before)
