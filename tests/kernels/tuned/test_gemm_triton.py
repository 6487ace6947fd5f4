"""Rows of tuned tables of products, for the Triton kernel."""

import warnings

import pytest
from aot_kernels.drivers.family import TARGETS
from aot_kernels.tuned import gemm, table

HEADER = (
    "gfx,cu_num,M,N,K,bias,dtype,outdtype,scaleAB,bpreshuffle,libtype,solidx,splitK,us,kernelName\n"
)
BF16 = "torch.bfloat16"


def row(m, n, arch="gfx950", units=256, dtype=BF16, out=BF16, library="triton", scaled="False"):
    return f"{arch},{units},{m},{n},4096,False,{dtype},{out},{scaled},False,{library},0,0,9,auto\n"


@pytest.fixture
def listed(tmp_path, monkeypatch):
    def read(*rows):
        path = tmp_path / "t.csv"
        path.write_text(HEADER + "".join(rows))
        monkeypatch.setenv(table.VARIABLE, str(path))
        return list(gemm.triton(TARGETS))

    return read


@pytest.mark.parametrize(
    "m, n, tile",
    [(1, 64, (16, 64)), (16, 129280, (16, 64)), (17, 64, (64, 64)), (256, 4096, (64, 64)),
     (64, 64640, (256, 128)), (2048, 2048, (128, 128)), (8192, 2048, (256, 128)),
     (4096, 1024, (128, 128)), (4096, 1023, (128, 128)), (4096, 896, (64, 64))],
)  # fmt: skip
def test_the_tile_follows_from_the_shape_and_the_processors(listed, m, n, tile):
    (found,) = listed(row(m, n))
    assert (found["BM"], found["BN"]) == tile
    assert found["target"] == "hip:gfx950" and found["dtype"] == "bf16" and found["TRANS_B"]


def test_a_table_becomes_as_many_variants_as_it_has_targets_and_tiles(listed):
    sizes = [(m, n) for m in (1, 2, 8, 16) for n in (64, 512, 2048)]
    found = listed(*(row(m, n, arch) for m, n in sizes for arch in ("gfx942", "gfx1250")))
    assert [(each["target"], each["DIES"]) for each in found] == [
        ("hip:gfx942", 8), ("hip:gfx1250", 1),
    ]  # fmt: skip


def test_rows_of_others_are_named_once(listed):
    with pytest.warns(UserWarning, match=r"left out 4 rows .*: asm 1, torch 1, triton from bf16"):
        found = listed(
            row(1, 64), row(1, 64, library="asm"), row(1, 64, library="torch"),
            row(1, 64, out="torch.float32"), row(1, 64, scaled="True"),
        )  # fmt: skip
    assert len(found) == 1


def test_rows_that_another_function_reads_are_not_counted(listed):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert listed(row(1, 64, library="flydsl")) == []


@pytest.mark.parametrize(
    "broken, reason",
    [
        (row("x", 64), "M is no number: 'x'"),
        (row(1, 64, dtype="torch.int3"), "unknown dtype 'torch.int3'; known: torch.bfloat16"),
        (row(1, 64, "gfx90a"), "unsupported target 'gfx90a'; known: hip:gfx942"),
        (row(1, 64, units=""), "nothing in column 'cu_num'"),
    ],
)
def test_a_broken_row_costs_no_other(listed, broken, reason):
    error, good = listed(broken, row(1, 64))
    assert isinstance(error, ValueError) and str(error).startswith(f"t.csv:2: {reason}")
    assert good["BM"] == 16


def test_shipped_rows_are_few_and_distinct(monkeypatch):
    monkeypatch.delenv(table.VARIABLE, raising=False)
    found = list(gemm.triton(TARGETS))
    assert {each["target"] for each in found} == {"hip:gfx942", "hip:gfx950", "hip:gfx1250"}
    assert len(found) <= 15 and not any(isinstance(each, ValueError) for each in found)


def test_real_tables(real, monkeypatch):
    files = sorted(real.glob("**/*bf16_tuned_gemm.csv"))
    monkeypatch.setenv(table.VARIABLE, ":".join(map(str, files)))
    with pytest.warns(UserWarning, match=r"left out 800 rows of other libraries: asm 361, opus"):
        found = list(gemm.triton(TARGETS))
    # 346 rows: all four tiles, of two targets.
    assert len(found) == 8 and {each["target"] for each in found} == {"hip:gfx950", "hip:gfx1250"}
