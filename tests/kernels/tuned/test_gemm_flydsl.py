"""Rows of FlyDSL products: names of tuned tables, columns of a tile."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from aot_kernels.drivers.family import TARGETS
from aot_kernels.flydsl.tile import Tile, problem
from aot_kernels.tuned import gemm, table

GEMM = "gfx,cu_num,M,N,K,bias,dtype,outdtype,libtype,kernelName\n"
A8W8 = "gfx,cu_num,M,N,K,q_dtype_w,libtype,kernelName\n"
NAME = (
    "flydsl_gemm6_abf16_wbf16_bf16_t16x64x128_split_k8_block_m_warp1_block_n_warp2_block_k_warp2"
    "_async_copyTrue_b_to_ldsTrue_b_preshuffleFalse_c_to_ldsFalse_gfx950"
)


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def read(function: Any, text: str) -> list[Any]:
        path = tmp_path / "table.csv"
        path.write_text(text)
        monkeypatch.setenv(table.VARIABLE, str(path))
        return list(function(TARGETS))

    return read


def row(name=NAME, gfx="gfx950", n=128, k=7168, bias="False", out="torch.bfloat16", m=1):
    return f"{gfx},256,{m},{n},{k},{bias},torch.bfloat16,{out},flydsl,{name}\n"


def row8(name, gfx="gfx950", n=256, k=1024):
    return f"{gfx},256,1,{n},{k},torch.float8_e4m3fn,flydsl,{name}\n"


def test_a_name_says_the_tile_and_columns_the_rest(listed):
    found = listed(gemm.flydsl, GEMM + row(m=1) + row(m=64) + row(bias="True", out="torch.float32"))
    same = {
        "STAGES": 6, "dtype": "bf16", "BM": 16, "BN": 64, "BK": 128, "SPLIT": 8, "WM": 1, "WN": 2,
        "WK": 2, "ASYNC": True, "B_LDS": True, "PRESHUFFLE": False, "N": 128, "K": 7168,
        "target": "hip:gfx950",
    }  # fmt: skip
    assert found == [
        {**same, "out": "bf16", "BIAS": False}, {**same, "out": "fp32", "BIAS": True},
    ]  # fmt: skip


def test_what_stands_in_the_way_of_a_detour_or_of_a_copy_is_left_out(listed):
    shuffled = NAME.replace("b_preshuffleFalse", "b_preshuffleTrue")
    (found,) = listed(gemm.flydsl, GEMM + row(shuffled, gfx="gfx942").replace("gemm6", "gemm2"))
    assert found["PRESHUFFLE"] and not found["B_LDS"] and not found["ASYNC"]
    through = NAME.replace("c_to_ldsFalse", "c_to_ldsTrue")
    assert len(listed(gemm.flydsl, GEMM + row() + row(through))) == 1


def test_names_of_8_bit_products(listed):
    text = A8W8 + row8("flydsl_bpreshuflle_128x128x256_F8_F8_B16_1x3x4x2_default")
    text += row8("flydsl_bpreshuflle_128x128x256_F8_F8_B16_1x3x4x2_off")
    text += row8("flydsl_bpreshuffle_wmma_t32x64x512_mw1_nw2_nb4_sk1_cm1_cn1", "gfx1250")
    assert listed(gemm.flydsl_a8w8, text) == [
        {"BM": 128, "BN": 128, "BK": 256, "ASYNC": True, "WAVES": 3, "DIES": 4, "STAGES": 2,
         "out": "bf16", "N": 256, "K": 1024, "target": "hip:gfx950"},
        {"BM": 32, "BN": 64, "BK": 512, "WM": 1, "WN": 2, "STAGES": 4, "SPLIT": 1,
         "out": "bf16", "N": 256, "K": 1024, "target": "hip:gfx1250"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "function, text, message",
    [
        (gemm.flydsl, GEMM + row(NAME + "_x"), "cannot be made out"),
        (gemm.flydsl, GEMM + row(k=7168 + 128), "K is no multiple of 1024"),
        (gemm.flydsl, GEMM + row(n=96), "N is no multiple of 64"),
        (gemm.flydsl, GEMM + row(gfx="gfx942"), "bytes of local memory, of which gfx942 has 65536"),
        (gemm.flydsl, GEMM + row("gemm6"), "no name of FlyDSL's"),
        (gemm.flydsl, GEMM + row().replace("torch.bfloat16", "torch.bf", 1), "unknown dtype"),
        (gemm.flydsl, GEMM + row().replace("torch.bfloat16", "torch.float16", 1),
         "dtype is torch.float16, but the kernel's name says bf16"),
        (gemm.flydsl, GEMM + "gfx950,256,1,64,7168\n", "nothing in column 'libtype'"),
        (gemm.flydsl_a8w8, A8W8 + "gfx950,256,1,64\n", "nothing in column 'libtype'"),
        (gemm.flydsl_a8w8, (A8W8 + row8("flydsl_bpreshuflle_16x64x256_F8_F8_B16_1x3x4x2_default"))
         .replace("float8_e4m3fn", "int8"), "q_dtype_w is torch.int8"),
        (gemm.flydsl_a8w8, A8W8 + row8("flydsl_bpreshuflle_64x64"), "cannot be made out"),
        (gemm.flydsl_a8w8, A8W8 + row8("flydsl_bpreshuflle_16x64x256_F8_F8_F9_1x3x4x2_default"),
         "unknown type 'F9'"),
        (gemm.flydsl_a8w8, A8W8 + row8("flydsl_bpreshuflle_16x64x256_F8_F8_B16_1x3x4x2_default",
                                       "gfx90a"), "unsupported target 'gfx90a'"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_made_out_is_broken(listed, function, text, message):
    (found,) = listed(function, text)
    assert isinstance(found, ValueError) and message in str(found)
    assert str(found).startswith("table.csv:2: ")


@pytest.mark.parametrize(
    "function, text, message",
    [
        (gemm.flydsl, GEMM + row().replace("flydsl,", "asm,"), "asm 1"),
        (gemm.flydsl, GEMM + row(NAME.replace("_gfx950", "_small_m_nr2_gfx950")),
         "flydsl small_m 1"),
        (gemm.flydsl_a8w8, A8W8 + row8("flydsl_mxfp8_128_bpreshuffle_wmma_t16x64x128_mw1"),
         "flydsl_mxfp8 1"),
        (gemm.flydsl_a8w8, A8W8 + row8("flydsl_bpreshuffle_8w_256x256x128"),
         "flydsl_bpreshuffle 1"),
        (gemm.flydsl_a8w8, A8W8 + row8("flydsl_bpreshuflle_16x64x256_I8_I8_B16_1x3x4x2_default"),
         "flydsl int8 1"),
    ],
)  # fmt: skip
def test_kinds_that_there_is_no_kernel_for_are_foreign(listed, function, text, message):
    with pytest.warns(UserWarning, match=f"left out 1 row of other libraries: {message}$"):
        assert listed(function, text) == []


@pytest.mark.parametrize("function", [gemm.flydsl, gemm.flydsl_a8w8])
def test_shipped_rows_are_few_and_can_be_built(function):
    found = list(function(TARGETS))
    assert 4 <= len(found) <= 8
    assert {each["target"] for each in found} == {"hip:gfx942", "hip:gfx950"}


def test_real_tables(real, monkeypatch):
    files = [str(path) for path in sorted(real.glob("**/*gemm*.csv"))]
    monkeypatch.setenv(table.VARIABLE, ":".join(files))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        products, short = list(gemm.flydsl(TARGETS)), list(gemm.flydsl_a8w8(TARGETS))
    assert (len(products), len(short)) == (303, 257)
    for each in (*products, *short):
        assert not isinstance(each, ValueError), each
        row = {name: value for name, value in each.items() if name != "target"}
        fixed = {} if "dtype" in row else {"dtype": "fp8", "B_LDS": False, "PRESHUFFLE": True}
        assert not problem(Tile(arch=each["target"].removeprefix("hip:"), **{**fixed, **row}))
