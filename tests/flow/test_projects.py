"""Each consumer project, by today's pip: built, installed, read, and its CPU kernels called."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flow.consumers import (
    CALL_SCALE,
    EPOCH,
    copy,
    install,
    read_all,
    run,
    uv,
    wheel_of,
)

pytestmark = [pytest.mark.slow, pytest.mark.pip, pytest.mark.compiler, pytest.mark.network]


@dataclass(frozen=True)
class Consumer:
    """What is to be expected of a project."""

    name: str
    tag: str
    kernels: dict[str, int]
    """`<kernel> <target>` -> how many variants have files."""
    program: str = CALL_SCALE
    """Is run where the wheel is installed; the package is its argument."""
    package: str = ""
    native: bool = False
    """Carries an extension module, which holds paths of the folder that it was compiled in."""
    unlaunchable: int = 0
    marks: tuple[Any, ...] = ()


CALL_NATIVE = CALL_SCALE + (
    "native = importlib.import_module(sys.argv[1] + '.native')\nassert native.answer() == 42\n"
)
FIND_NATIVE = CALL_SCALE + (
    "from pathlib import Path\n"
    "assert Path(_aot.__file__).parents[1].joinpath('native.so').is_file()\n"
)
READ_TABLES = """
from pathlib import Path
from python_backend import _aot
for target in ("cpu", "cuda:sm_90a"):
    artifact = _aot.get("table", target=target, base=3, size=4)
    assert Path(artifact.files["powers.txt"]).read_text() == "1,3,9,27\\n"
    assert Path(artifact.files["notes/target.txt"]).read_text() == target + "\\n"
"""
READ_SQUARE = CALL_SCALE + (
    "square = _aot.get('square', target='cpu', n=3)\n"
    "assert list(square.files) == ['square.txt'] and square.bytes == b'9\\n'\n"
)
READ_LAUNCH = """
import sys
from triton_two_targets import _aot
for target, warp_size, arch in (("cuda:sm_90a", 32, "sm_90a"), ("hip:gfx942", 64, "gfx942")):
    row = dict(dtype="fp16", BM=64, BN=64, BK=32, num_warps=4, num_stages=2)
    found = _aot.select("matmul", target, **row)
    assert found.bytes[:4] == b"\\x7fELF"
    assert found.metadata["symbol"] == "matmul" and found.metadata["arch"] == arch
    assert found.metadata["warp_size"] == warp_size and found.metadata["num_warps"] == 4
    names = [argument["name"] for argument in found.metadata["args"]]
    assert names == ["a", "b", "c", "M", "N", "K", "global_scratch", "profile_scratch"], names
    assert found.metadata["assumes"] == {"a": 16, "b": 16, "c": 16, "N": 16, "K": 16}
    assert not set(sys.modules) & {"torch", "triton"}
    without = _aot.table("scale", target)[1024, "none", 4].metadata
    assert without["assumes"]["bias"] is None
"""
READ_CAPTURED = """
import sys
from triton_captured import _aot
assert not set(sys.modules) & {"torch", "triton"}
for target, warps in (("cuda:sm_90a", 16), ("hip:gfx942", 8)):
    wide = _aot.get("row_sum", target=target, dtype="float32", rows=64, columns=16384)
    assert wide.row["function"].endswith("wide") and wide.metadata["num_warps"] == warps
    try:
        _aot.get("row_sum", target=target, dtype="float32", rows=64, columns=1000)
    except _aot.KernelNotFound as error:
        assert "4" in str(error), error
    else:
        raise AssertionError("one of four configurations was taken for the launch")
"""

READ_CUBIN = """
from cuda_only import _aot
assert _aot.get("scale", target="cuda:sm_90a", T="float", BLOCK=64).bytes[:4] == b"\x7fELF"
wide = _aot.select("scale", "cuda:sm_90a", T="float", BLOCK=128)
assert (wide.target, wide.metadata["shared"]) == ("cuda:sm_90a", 512)
assert wide.metadata["symbol"] == "scale"
double = _aot.select("scale", "cuda:sm_86", T="double", BLOCK=64)
assert (double.target, double.metadata["shared"]) == ("cuda:sm_80", 512)
"""
CALL_LIBRARY = """
import ctypes
from cuda_library import _aot
library = ctypes.CDLL(_aot.get("scale", target="cuda:sm_90a", T="float", BLOCK=64).path)
assert library.scale_blocks(129) == 3
assert hasattr(library, "launch_scale")
"""

CONSUMERS = [
    Consumer("cpp_only", "py3-none-", {"scale cpu": 4}),
    Consumer(
        "pyproject_only",
        "py3-none-",
        {"scale cpu": 7, "scale cpu:x86-64-v2": 5, "square cpu": 2},
        READ_SQUARE,
    ),
    Consumer("migrated_pool", "py3-none-", {"scale cpu": 2, "scale cpu:x86-64-v3": 1}),
    Consumer("python_backend", "py3-none-", {"table cpu": 2, "table cuda:sm_90a": 2}, READ_TABLES),
    Consumer("rows_from_code", "py3-none-", {"scale cpu": 2, "scale cpu:x86-64-v3": 1}),
    Consumer("src_layout", "py3-none-", {"scale cpu": 1}, package="src_layout.deep"),
    Consumer("with_cython", "cp3", {"scale cpu": 1}, CALL_NATIVE, native=True),
    Consumer("with_setup_py_build_ext", "cp3", {"scale cpu": 1}, CALL_NATIVE, native=True),
    Consumer(
        "with_torch_extension",
        "cp3",
        {"scale cpu": 1},
        FIND_NATIVE,
        native=True,
        marks=(pytest.mark.torch,),
    ),
    Consumer(
        "cuda_only",
        "py3-none-",
        {"scale cuda:sm_80": 3, "scale cuda:sm_90a": 2},
        READ_CUBIN,
        marks=(pytest.mark.nvcc,),
    ),
    Consumer(
        "cuda_library",
        "py3-none-",
        {"scale cuda:sm_90a": 2},
        CALL_LIBRARY,
        marks=(pytest.mark.nvcc,),
    ),
    Consumer(
        "triton_two_targets",
        "py3-none-",
        {
            "matmul cuda:sm_90a": 3,
            "matmul hip:gfx942": 1,
            "scale cuda:sm_90a": 2,
            "scale hip:gfx942": 2,
        },
        READ_LAUNCH,
        marks=(pytest.mark.triton,),
    ),
    Consumer(
        "triton_captured",
        "py3-none-",
        {"row_sum cuda:sm_90a": 9, "row_sum hip:gfx942": 9},
        READ_CAPTURED,
        marks=(pytest.mark.triton, pytest.mark.torch),
    ),
]


@pytest.mark.parametrize("consumer", [pytest.param(c, id=c.name, marks=c.marks) for c in CONSUMERS])
def test_kernels_of_an_installed_wheel_are_found_and_run(
    environment: dict[str, str], tmp_path: Path, python: Path, consumer: Consumer
) -> None:
    env = {**environment, "SOURCE_DATE_EPOCH": EPOCH}
    first = wheel_of(copy(consumer.name, tmp_path / "one"), env)
    variants = sum(consumer.kernels.values()) + consumer.unlaunchable
    assert first.wheel.name.startswith(f"{consumer.name}-1.0-{consumer.tag}"), first.wheel.name
    assert (first.summary["executed"], first.summary["failed"]) == (variants, 0)

    install(python, first.wheel)
    package = consumer.package or consumer.name
    found = read_all(python, package)
    assert {each: found.count(each) for each in found} == consumer.kernels
    run(python, "-I", "-c", consumer.program, package)

    # The same sources elsewhere, by another front end: nothing is compiled, no byte differs.
    second = wheel_of(copy(consumer.name, tmp_path / "two" / "deeper"), env, uv)
    assert (second.summary["executed"], second.summary["hits"]) == (0, variants), second.summary
    assert second.kernels() == first.kernels()
    if not consumer.native:
        assert second.wheel.read_bytes() == first.wheel.read_bytes()


@pytest.mark.parametrize("name", ["cpp_only", "rows_from_code", "src_layout"])
def test_unpacked_sdist_builds_the_same_kernels(
    environment: dict[str, str], tmp_path: Path, name: str
) -> None:
    project = copy(name, tmp_path / "one")
    direct = wheel_of(project, environment, uv)
    run(*uv(project, tmp_path / "sdist", kind="sdist"), env=environment)
    (archive,) = (tmp_path / "sdist").glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    again = wheel_of(unpacked, environment, uv)
    assert again.kernels() == direct.kernels() != {}
    assert again.summary["executed"] == 0


def test_another_cache_and_one_job_make_the_same_wheel(
    environment: dict[str, str], tmp_path: Path
) -> None:
    env = {**environment, "SOURCE_DATE_EPOCH": EPOCH}
    first = wheel_of(copy("cpp_only", tmp_path / "one"), env)
    other = {**env, "AOT_BUILD_CACHE_DIR": str(tmp_path / "other"), "AOT_BUILD_JOBS": "1"}
    second = wheel_of(copy("cpp_only", tmp_path / "two" / "deeper"), other)
    assert second.summary["executed"] == first.summary["executed"] == 4
    assert first.wheel.read_bytes() == second.wheel.read_bytes()


def failed(project: Path, env: dict[str, str]) -> str:
    """What pip says of a project that does not build."""
    words = ("pip", "wheel", "--no-deps", "-w", str(project.parent / "out"), str(project))
    done = subprocess.run(
        [sys.executable, "-m", *words], env=env, capture_output=True, text=True, timeout=300
    )
    told = done.stdout + done.stderr
    assert done.returncode != 0, told
    assert "Traceback" not in told
    return told


def test_kernel_that_does_not_compile_is_a_message(
    environment: dict[str, str], tmp_path: Path
) -> None:
    project = copy("cpp_only", tmp_path)
    source = project / "cpp_only" / "scale.cpp"
    source.write_text(source.read_text() + "\nthis is no C++;\n")
    told = failed(project, environment)
    assert "error: " in told and "scale" in told
    assert "this" in told, "the compiler's own words"


def test_missing_compiler_package_is_a_message_with_the_command(
    environment: dict[str, str], tmp_path: Path
) -> None:
    told = failed(copy("triton_without_requires", tmp_path), environment)
    assert 'hint: pip install "triton>=' in told
    assert "kernel 'fill'" in told and "[build-system] requires" in told
