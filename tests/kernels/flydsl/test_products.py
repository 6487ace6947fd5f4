"""The FlyDSL products against float64: what FlyDSL lowered them to, run on the CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("flydsl")

from aot_kernels.flydsl.tile import LOCAL_BYTES, Tile, local_bytes, problem
from aot_kernels.tuned import gemm as tuned

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.torch, pytest.mark.flydsl]

A8W8 = {"dtype": "fp8", "B_LDS": False, "PRESHUFFLE": True, "SCALED": True}
BF16, FP16 = {"dtype": "bf16", "out": "bf16"}, {"dtype": "fp16", "out": "fp16"}
CASES = {
    "through registers": {"arch": "gfx942", **BF16, "N": 128, "K": 192, "BM": 32, "BK": 64},
    "one stage": {"arch": "gfx942", **FP16, "N": 64, "K": 128, "BM": 16, "BK": 64, "STAGES": 1},
    "parts of K": {
        "arch": "gfx942", "dtype": "bf16", "out": "fp32", "N": 1088, "K": 128, "BM": 16, "BK": 64,
        "SPLIT": 2, "BIAS": True,
    },
    "three stages on their way": {
        "arch": "gfx950", **BF16, "N": 64, "K": 512, "BM": 32, "BK": 64, "STAGES": 3,
        "ASYNC": True, "WM": 2, "WN": 2, "BIAS": True,
    },
    "waves along K": {
        "arch": "gfx950", **FP16, "N": 64, "K": 384, "BM": 32, "BK": 128, "STAGES": 2,
        "ASYNC": True, "WN": 2, "WK": 4,
    },
    "B not local": {"arch": "gfx950", **BF16, "N": 64, "K": 256, "BM": 32, "BK": 64,
                    "B_LDS": False, "WAVES": 2},
    "B not local, preshuffled": {
        "arch": "gfx942", **FP16, "N": 128, "K": 128, "BM": 16, "BK": 64, "B_LDS": False,
        "PRESHUFFLE": True, "WM": 1, "WN": 2,
    },
    "fp8 of CDNA3, parts of K": {
        "arch": "gfx942", **A8W8, "out": "bf16", "N": 64, "K": 512, "BM": 80, "BK": 128,
        "SPLIT": 2,
    },
    "fp8 of CDNA4, dies": {
        "arch": "gfx950", **A8W8, "out": "fp16", "N": 192, "K": 512, "BM": 16, "BK": 256,
        "ASYNC": True, "DIES": 2,
    },
    "fp8 of CDNA4, short rows": {
        "arch": "gfx950", **A8W8, "out": "bf16", "N": 64, "K": 256, "BM": 64, "BK": 64,
        "ASYNC": True, "STAGES": 1,
    },
    "B as it is needed": {
        "arch": "gfx950", **A8W8, "out": "bf16", "N": 256, "K": 1024, "BM": 16, "BN": 256,
        "BK": 512, "ASYNC": True, "WAVES": 4,
    },
    "waves of 32": {"arch": "gfx1250", **BF16, "N": 64, "K": 192, "BM": 32, "BK": 64, "WM": 2,
                    "WN": 2, "BIAS": True},
    "fp8, waves of 32, parts of K": {
        "arch": "gfx1250", **A8W8, "out": "bf16", "N": 96, "K": 512, "BM": 32, "BN": 96,
        "BK": 128, "STAGES": 4, "WN": 2, "SPLIT": 2,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_product(product, name):
    tile = {"BN": 64, **CASES[name]}
    assert not problem(Tile(**tile))
    found = product(tile=tile, M=tile["BM"] + 5)
    assert found["worst"] <= 1
    assert found["scratch"] == 0
    assert found["local"] == local_bytes(Tile(**tile))


@pytest.mark.parametrize("m", [1, 16, 33])
def test_rows_of_any_number(product, m):
    tile = {"BN": 64, **CASES["through registers"]}
    assert product(tile=tile, M=m)["worst"] <= 1


INSTRUCTIONS = {
    "through registers": "rocdl.mfma.f32.16x16x16bf16.1k",
    "waves along K": "rocdl.mfma.f32.16x16x32.f16",
    "fp8 of CDNA3, parts of K": "rocdl.mfma.f32.16x16x32.fp8.fp8",
    "fp8 of CDNA4, dies": "rocdl.mfma.scale.f32.16x16x128.f8f6f4",
    "waves of 32": "rocdl.wmma.f32.16x16x32.bf16",
}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_the_matrix_instruction_is_the_targets(product, name):
    counts = product(tile={"BN": 64, **CASES[name]}, M=1)["counts"]
    assert {op for op in counts if "mma" in op or "mfma" in op} == {INSTRUCTIONS[name]}


COMPILED = """
import os, sys
from aot_kernels.flydsl import gemm
from tests.kernels.flydsl import interpret
from aot_kernels.flydsl.tile import Tile
import torch
folder, m = sys.argv[1], int(sys.argv[2])
os.environ |= {"ARCH": "gfx950", "FLYDSL_GPU_ARCH": "gfx950", "COMPILE_ONLY": "1"}
rocm = interpret.rocm(interpret.Path(folder))
os.environ |= {"FLYDSL_RUNTIME_CACHE_DIR": folder, "ROCM_PATH": rocm}
tile = Tile("gfx950", "bf16", "bf16", 64, 128, 16, 64, 64)
held = torch.empty(4096, dtype=torch.bfloat16)
names = ("c", "a", "b", "bias", "parts", "row_scale", "column_scale")
if m:
    gemm.started(tile, dict.fromkeys(names, held.data_ptr()), m, stream=held.data_ptr())
else:
    gemm.compiled(tile)
print(gemm.launch.cache_info().hits)
"""


def test_a_launch_finds_what_was_compiled_before(tmp_path, fresh_python):
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    assert fresh_python(COMPILED, tmp_path, "0", PYTHONPATH=path).split() == ["0"]
    left = sorted(tmp_path.glob("launch_*/*.pkl"))
    assert len(left) == 1
    assert fresh_python(COMPILED, tmp_path, "37", PYTHONPATH=path).split() == ["1"]
    assert sorted(tmp_path.glob("launch_*/*.pkl")) == left


def shipped():
    """(target, columns) of every row."""
    for fixed, listed in (({}, tuned.flydsl), (A8W8, tuned.flydsl_a8w8)):
        for row in listed([]):
            yield pytest.param(row["target"], {**fixed, **row}, id=f"{row['target']}-{row['BM']}")


@pytest.mark.parametrize("target, row", list(shipped()))
def test_shipped_rows_compile_and_need_no_scratch(product, target, row):
    arch = target.removeprefix("hip:")
    tile = {"arch": arch, **{name: v for name, v in row.items() if name != "target"}}
    # One tile's worth of it: what a block does depends on N and K by the number of its steps alone.
    tile |= {"N": tile["BN"], "K": tile["BK"] * tile.get("SPLIT", 1)}
    found = product(tile=tile, M=3)
    assert found["worst"] <= 1 and found["scratch"] == 0
    assert found["local"] <= LOCAL_BYTES[arch]


def test_a_row_that_cannot_be_built_says_why():
    from aot_kernels.flydsl import gemm

    with pytest.raises(ValueError, match="K is no multiple of 128"):
        gemm.build("", "hip:gfx942", **{**BF16, "N": 64, "K": 192, "BM": 16, "BN": 64, "BK": 128})
    with pytest.raises(ValueError, match="no asynchronous copy on gfx942"):
        gemm.build_a8w8("", "hip:gfx942", out="bf16", N=64, K=128, BM=16, BN=64, BK=128, ASYNC=True)


def test_importing_what_needs_no_flydsl_loads_none():
    code = "import sys, aot_kernels.tuned.gemm; print({'torch', 'flydsl'} & set(sys.modules))"
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "set()"
