"""Which of several variants serves how many rows."""

import pytest

torch = pytest.importorskip("torch")

from aot_kernels.gpu import moe  # noqa: E402
from aot_kernels.gpu.experts import aligned_stack, choose  # noqa: E402
from aot_kernels.gpu.variants import Kernel, Variant  # noqa: E402

pytestmark = pytest.mark.torch


def variants(*sizes):
    return tuple(Variant({"dtype": "bf16", "BM": size}) for size in sizes)


@pytest.mark.parametrize("rows, size", [(1, 16), (16, 16), (17, 64), (64, 64), (1000, 128)])
def test_the_smallest_tile_that_holds_the_rows(rows, size):
    assert choose(variants(64, 16, 128), rows).row["BM"] == size


@pytest.mark.parametrize("rows, size", [(1, 32), (33, 64), (1000, 64)])
def test_both_stages_of_moe_take_blocks_of_one_size(rows, size, monkeypatch):
    """Only sizes that either has: rows are sorted once."""
    found = {"gpu_moe_up": variants(16, 32, 64), "gpu_moe_down": variants(128, 64, 32)}
    monkeypatch.setattr(Kernel, "variants", lambda kernel, device, dtype: found[kernel.name])
    up, down = moe.tiles(torch.device("cuda", 0), "bf16", rows)
    assert up.row["BM"] == down.row["BM"] == size


def test_weights_are_copied_only_where_they_have_to_be():
    whole = torch.randn(3, 5, 32)
    assert aligned_stack(whole, 32) == (whole, 160, 32)
    wide = torch.randn(3, 5, 64)[..., :32]
    assert aligned_stack(wide, 32)[0] is wide
    for stack, depth in ((torch.randn(3, 5, 30), 32), (torch.randn(3, 32, 16).mT, 32)):
        copied, expert, row = aligned_stack(stack, depth)
        assert copied is not stack and (expert, row) == (copied.stride(0), copied.stride(1))
        assert expert % 16 == row % 16 == copied.data_ptr() % 16 == 0
        size = stack.shape[2]
        assert torch.equal(copied[..., :size], stack) and (copied[..., size:] == 0).all()
