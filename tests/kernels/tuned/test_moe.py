"""Tuned tables of mixtures of experts: names of kernels, and what they become."""

import csv
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from aot_kernels.drivers.family import TARGETS
from aot_kernels.tuned import moe, table

UP = "flydsl_moe1_afp8_wfp4_bf16_t32x128x256"
DOWN = "flydsl_moe2_afp4_wfp4_bf16_t64x256x256_reduce"
ROW = {
    "gfx": "gfx950", "token": "1", "model_dim": "7168", "inter_dim": "512", "expert": "256",
    "topk": "8", "act_type": "ActivationType.Silu", "use_g1u1": "1", "doweight_stage1": "0",
    "run_1stage": "0", "kernelName1": UP, "kernelName2": DOWN,
    "q_dtype_a": "", "q_dtype_w": "", "dtype": "torch.bfloat16",
}  # fmt: skip


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a function makes of rows, each a change of ROW; left out rows are told, not warned."""

    def read(function: Any, *changes: dict[str, str]) -> tuple[list[Any], str]:
        with open(tmp_path / "t.csv", "w", newline="") as stream:
            writer = csv.DictWriter(stream, ROW)
            writer.writeheader()
            writer.writerows({**ROW, **change} for change in changes)
        monkeypatch.setenv(table.VARIABLE, str(tmp_path / "t.csv"))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = list(function(TARGETS))
        return found, "".join(str(each.message) for each in told)

    return read


def test_a_name_becomes_columns(listed):
    names = {
        "kernelName1": f"{UP}_w4_gui_kw2_bnt0_xcd4_fp8",
        "kernelName2": f"{DOWN}_bnt2_persist_sbm128_xcd4",
    }
    shared = {"target": "hip:gfx950", "model_dim": 7168, "inter_dim": 512, "w": "fp4"}
    assert listed(moe.up, names)[0] == [{
        **shared, "a": "fp8", "out": "fp8", "activation": "silu", "tile_m": 32, "tile_n": 128,
        "tile_k": 256, "interleaved": True, "k_waves": 2, "nontemporal": False,
    }]  # fmt: skip
    assert listed(moe.down, names)[0] == [{
        **shared, "a": "fp4", "out": "bf16", "tile_m": 64, "tile_n": 256, "tile_k": 256,
        "nontemporal": True,
    }]  # fmt: skip


SAME = [
    {"token": "64"}, {"expert": "385"}, {"topk": "9"}, {"kernelName1": f"{UP}_w2"},
    {"kernelName1": f"{UP}_xcd4"}, {"kernelName2": f"{DOWN}_persist"},
    {"kernelName2": f"{DOWN}_sbm128"}, {"kernelName2": DOWN.replace("reduce", "atomic")},
    {"kernelName2": f"{DOWN}_persist_async_w4_cumul3"},
]  # fmt: skip
OTHER = [
    {"inter_dim": "1024"}, {"model_dim": "4096"},
    {"kernelName1": f"{UP}_bnt0", "kernelName2": f"{DOWN}_bnt2"},
    {"kernelName1": UP.replace("fp8", "fp4"), "kernelName2": DOWN.replace("fp4", "fp8", 1)},
    {"kernelName1": UP.replace("t32", "t64"), "kernelName2": DOWN.replace("t64", "t32")},
]  # fmt: skip


@pytest.mark.parametrize("function", [moe.up, moe.down])
def test_what_does_not_change_the_artifact_makes_no_variant(listed, function):
    assert len(listed(function, {}, *SAME)[0]) == 1
    for change in OTHER:
        assert len(listed(function, {}, change)[0]) == 2


def test_activations_are_of_the_first_stage_alone(listed):
    changes = {}, {"act_type": "ActivationType.Swiglu"}
    assert [row["activation"] for row in listed(moe.up, *changes)[0]] == ["silu", "swiglu"]
    assert len(listed(moe.down, *changes)[0]) == 1


def test_a_tile_that_does_not_divide_is_one_of_128(listed):
    (up,), _ = listed(moe.up, {"inter_dim": "384", "kernelName1": UP.replace("x128x", "x256x")})
    assert up["tile_n"] == 128
    (up,), _ = listed(
        moe.up, {"inter_dim": "384", "kernelName1": f"{UP}_gui".replace("128", "256")}
    )
    assert up["tile_n"] == 256  # of 768 columns, gate and up together
    (down,), _ = listed(moe.down, {"inter_dim": "384"})
    assert down["tile_k"] == 128


def test_rows_of_others_are_counted_by_library(listed):
    others = (
        "cktile_a8w4_bm64", "opus_moe2_afp8", "moe_ck2stages_gemm1_256", "_ZN5aiter48fmoe", "Null",
        "", UP.replace("_bf16", "_f16"), UP.replace("fp8", "bf16"),
    )  # fmt: skip
    found, told = listed(moe.up, {}, *({"kernelName1": name} for name in others))
    assert len(found) == 1
    assert told == (
        "left out 8 rows of other libraries: asm 1, ck 1, cktile 1, flydsl bf16 x fp4 1,"
        " flydsl to f16 1, null 2, opus 1"
    )
    changes = {"act_type": "ActivationType.Gelu"}, {"use_g1u1": "0"}, {"doweight_stage1": "1"}
    for function in (moe.up, moe.down):
        found, told = listed(function, {}, *changes)
        assert len(found) == 1 and told.endswith(
            "flydsl weighted in stage 1 1, flydsl with gelu 1, flydsl without a gate 1"
        )


def test_a_stage_of_another_library_leaves_the_other(listed):
    change = {"kernelName2": "opus_moe2_afp8"}
    assert len(listed(moe.up, change)[0]) == 1 and listed(moe.down, change)[0] == []


BROKEN = [
    ({"kernelName1": f"{UP}_kb7"}, "unknown 'kb7' in kernelName1"),
    ({"kernelName1": UP.replace("x256", "")}, "cannot make out kernelName1"),
    ({"kernelName1": UP.replace("fp8", "fp5")}, "unknown type afp5; known: bf16"),
    ({"gfx": "gfx942"}, "fp8 x fp4 is not for hip:gfx942, but hip:gfx950"),
    ({"gfx": "gfx90a"}, "unsupported target 'gfx90a'"),
    ({"act_type": "ActivationType.Relu"}, "unknown act_type 'Relu'"),
    ({"q_dtype_a": "torch.float9"}, "unknown q_dtype_a 'torch.float9'"),
    ({"q_dtype_w": "torch.int8"}, "q_dtype_w is torch.int8, but the kernel's name says fp4"),
    ({"inter_dim": "500"}, "tile_n 128 does not divide 500"),
    ({"kernelName1": UP.replace("t32x", "t33x")}, "tile_m 33 is no multiple of 16"),
    ({"kernelName1": UP.replace("t32x", "t512x")}, "262144 bytes of LDS"),
    ({"kernelName1": UP.replace("t32x", "t0x")}, "a tile of nothing"),
]


@pytest.mark.parametrize("change, message", BROKEN)
def test_broken_rows_say_where(listed, change, message):
    found, told = listed(moe.up, change, {})
    assert isinstance(found[0], ValueError) and str(found[0]).startswith(f"t.csv:2: {message}")
    assert len(found) == 2 and not told


def test_shipped_rows(monkeypatch):
    monkeypatch.delenv(table.VARIABLE, raising=False)
    for function in (moe.up, moe.down):
        targets = [row["target"] for row in function(TARGETS)]
        assert len(targets) == 5 and set(targets) == set(moe.KNOWN)


def test_real_tables(real, monkeypatch):
    names = ["tuned_fmoe.csv", *(f"model_configs/{each}_tuned_fmoe.csv" for each in (
        "dsv3_fp4", "dsv4_fp8fp4",
    ))]  # fmt: skip
    monkeypatch.setenv(table.VARIABLE, os.pathsep.join(str(real / name) for name in names))
    counts = {}
    for function, left in (
        (moe.up, "642 rows of other libraries: asm 144, ck 484, cktile 5, opus 9"),
        (moe.down, "667 rows of other libraries: ck 612, cktile 4, null 17, opus 34"),
    ):
        with pytest.warns(UserWarning, match=left):
            found = list(function(TARGETS))
        assert not [each for each in found if isinstance(each, ValueError)]
        counts[function.__name__] = len(found)
    assert counts == {"up": 88, "down": 63}
