"""Rows of grouped tables: a variant of either stage, and what they have no say in left out."""

import pytest
from aot_kernels.tuned import table
from aot_kernels.tuned.grouped_moe import KNOWN, triton

HEADER = (
    "gfx,token,dtype,q_dtype_a,q_dtype_w,q_type,use_g1u1,tile_m,tile_n,tile_k,tile_m2,tile_n2,"
    "tile_k2,m_warp,n_warp,m_warp2,n_warp2,num_buffers,num_buffer_stage2\n"
)
FP4, FP8 = "torch.float4_e2m1fn_x2", "torch.float8_e4m3fn"


def row(**changed):
    values = {
        "gfx": "gfx1250", "token": "1", "dtype": "torch.bfloat16", "q_dtype_a": FP8,
        "q_dtype_w": FP4, "q_type": "QuantType.per_1x32", "use_g1u1": "1", "tile_m": "16",
        "tile_n": "512", "tile_k": "128", "tile_m2": "32", "tile_n2": "256", "tile_k2": "256",
        "m_warp": "1", "n_warp": "4", "m_warp2": "2", "n_warp2": "4", "num_buffers": "3",
        "num_buffer_stage2": "2",
    }  # fmt: skip
    return ",".join({**values, **changed}.values()) + "\n"


@pytest.fixture
def listed(tmp_path, monkeypatch):
    def read(*rows):
        path = tmp_path / "grouped.csv"
        path.write_text(HEADER + "".join(rows))
        monkeypatch.setenv(table.VARIABLE, str(path))
        return list(triton(["hip:gfx1250"]))

    return read


def test_a_row_is_a_variant_of_either_stage(listed):
    shared = {"dtype": "bf16", "BITS": 8, "GATHER": False, "target": "hip:gfx1250"}
    up = {"GATED": True, "BM": 16, "BN": 256, "BK": 128, "num_warps": 4, "num_stages": 3}
    down = {"GATED": False, "BM": 32, "BN": 256, "BK": 256, "num_warps": 8, "num_stages": 2}
    assert listed(row(), row(token="512")) == [{**shared, **up}, {**shared, **down}]


def test_a_second_stage_that_is_not_named_is_as_the_first(listed):
    absent = {"tile_m2": "", "tile_n2": "", "tile_k2": "", "num_buffer_stage2": ""}
    _, down = listed(row(**absent, q_dtype_a=FP4))
    assert (down["BM"], down["BN"], down["BK"], down["BITS"]) == (16, 512, 128, 4)


def test_rows_of_other_products_are_left_out(listed):
    with pytest.warns(UserWarning, match="left out 3 rows of other libraries: fp4 per_128x128 1, "):
        found = listed(
            row(q_dtype_w=FP8), row(q_type="QuantType.per_128x128"), row(use_g1u1="0"), row()
        )
    assert len(found) == 2


@pytest.mark.parametrize(
    "changed, reason",
    [
        ({"tile_n": "wide"}, "tile_n is no number: 'wide'"),
        ({"q_dtype_a": "torch.int8"}, "unknown q_dtype_a 'int8'; known: fp4, fp8"),
        ({"tile_m": "17"}, "tile_m of stage 1 is 17, none of 16, 32, 64, 128, 256"),
        (
            {"tile_n": "100"},
            "tile_n halved of stage 1 is 50, none of 16, 32, 64, 128, 256, 512",
        ),
        ({"tile_n2": "2048"}, "tile_n of stage 2 is 2048, none of 16, 32, 64, 128, 256, 512"),
        ({"tile_k2": "200"}, "tile_k of stage 2 is 200, none of 64, 128, 256, 512"),
        ({"n_warp": "3"}, "m_warp x n_warp of stage 1 is 3, none of 1, 2, 4, 8, 16"),
        ({"gfx": "gfx942"}, "unsupported target 'gfx942'; known: hip:gfx950, hip:gfx1250"),
    ],
)
def test_a_broken_row_is_an_error(listed, changed, reason):
    (error,) = listed(row(**changed))
    assert str(error) == f"grouped.csv:2: {reason}"


def test_shipped_rows(monkeypatch):
    monkeypatch.delenv(table.VARIABLE, raising=False)
    found = list(triton(KNOWN))
    assert {each["target"] for each in found} == set(KNOWN) and len(found) == 8
    assert {(each["BITS"], each["GATED"]) for each in found} == {
        (4, True), (4, False), (8, True), (8, False),
    }  # fmt: skip


def test_every_row_of_a_real_table_is_read(real, monkeypatch):
    monkeypatch.setenv(table.VARIABLE, str(real / "tuned_grouped_fmoe.csv"))
    found = list(triton(["hip:gfx1250"]))
    assert not [each for each in found if isinstance(each, ValueError)]
    assert len(found) == 41 and sum(each["GATED"] for each in found) == 20
