"""What the launcher of FlyDSL products picks, and how it lays out weights: without a GPU."""

import pytest

torch = pytest.importorskip("torch")

from aot_kernels.flydsl.launch import choose  # noqa: E402
from aot_kernels.flydsl.tile import Tile  # noqa: E402
from aot_kernels.shuffled import shuffled  # noqa: E402

pytestmark = pytest.mark.torch
ROW = {"dtype": "bf16", "out": "bf16", "N": 128, "K": 256, "BN": 64, "BK": 64, "BIAS": False}
WANTED = {"dtype": "bf16", "N": 128, "K": 256}


def picked(m, *sizes):
    return choose("fly_gemm", "gfx950", [{**ROW, "BM": size} for size in sizes], WANTED, m).BM


def test_the_tile_that_wastes_the_least_and_then_the_largest():
    assert picked(1, 16, 32, 128) == 16
    assert picked(32, 16, 32, 128) == 32
    assert picked(100, 16, 32, 64) == 16
    assert picked(128, 16, 32, 128) == 128


def test_what_all_variants_of_a_kernel_have_in_common():
    row = {"out": "bf16", "N": 128, "K": 256, "BM": 16, "BN": 64, "BK": 256, "WAVES": 2}
    wanted = {"out": "bf16", "N": 128, "K": 256}
    tile = choose("fly_gemm_a8w8", "gfx950", [row], wanted, 5)
    assert tile == Tile(
        "gfx950", "fp8", "bf16", 128, 256, 16, 64, 256, B_LDS=False, PRESHUFFLE=True,
        SCALED=True, WAVES=2,
    )  # fmt: skip


def test_a_shape_that_nothing_is_shipped_for():
    with pytest.raises(LookupError, match="nothing is shipped for gfx950 and dtype = bf16, N = 9"):
        choose("fly_gemm", "gfx950", [{**ROW, "BM": 16}], {**WANTED, "N": 9}, 1)


@pytest.mark.parametrize("dtype, chunk", [(torch.uint8, 16), (torch.bfloat16, 8)])
def test_sixteen_rows_lie_together_chunk_by_chunk(dtype, chunk):
    weight = torch.arange(32 * 64).view(32, 64).to(dtype)
    flat = shuffled(weight).view(-1)
    for n, k in ((0, 0), (3, 5), (15, 63), (16, 0), (31, 37)):
        place = (n // 16 * (64 // chunk) + k // chunk) * 16 * chunk + n % 16 * chunk + k % chunk
        assert flat[place] == weight[n, k]
