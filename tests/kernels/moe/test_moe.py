"""moe on the CPU against float64, within what fp32 sums and two roundings allow."""

import csv
import itertools
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import aot_kernels  # noqa: E402
from aot_kernels.cpu.moe import TILE  # noqa: E402
from aot_kernels.tensors import DTYPES  # noqa: E402

from tests.kernels.moe.bounds import mixture, worst  # noqa: E402

ROWS = Path(__file__).parents[3] / "kernels/aot_kernels/cpu"
pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("target")]
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=DTYPES.get)


def operands(tokens, topk, experts, dim, inter, dtype):
    x = torch.randn(tokens, dim).to(dtype)
    w_up = (torch.randn(experts, 2 * inter, dim) * dim**-0.5 * 2).to(dtype)
    w_down = torch.randn(experts, dim, inter).to(dtype)
    ids = torch.stack([torch.randperm(experts)[:topk] for _ in range(tokens)])
    return x, w_up, w_down, torch.rand(tokens, topk), ids


def check(x, w_up, w_down, weights, ids, activation="silu"):
    found = aot_kernels.moe(x, w_up, w_down, weights, ids, activation)
    assert found.shape == x.shape and found.dtype is x.dtype and found.is_contiguous()
    exact, bound = mixture(x, w_up, w_down, weights, ids, activation)
    assert worst(found, exact, bound) <= 1
    # A bound that anything fits proves nothing.
    assert bound.median() < 0.2 * exact.abs().median()
    return found


SHAPES = [
    (1, 1, 1, 1, 1), (1, 2, 8, 64, 32), (5, 2, 3, 17, 9), (37, 4, 16, 130, 70), (300, 2, 2, 33, 65),
    (96, 1, 1, 257, 128), (40, 3, 6, 290, 140),
]  # fmt: skip


@dtypes
@pytest.mark.parametrize(
    "shape, activation", [*zip(SHAPES, itertools.cycle(["silu", "swiglu"]), strict=False)], ids=str
)
def test_shapes(shape, activation, dtype):
    torch.manual_seed(sum(shape))
    check(*operands(*shape, dtype), activation)


@dtypes
def test_choices_of_every_kind(dtype):
    torch.manual_seed(3)
    x, w_up, w_down, weights, _ = operands(110, 3, 4, 40, 24, dtype)
    one = torch.full((110, 3), 2, dtype=torch.int32)
    elsewhere = torch.randint(-1, 6, (110, 3))
    uneven = torch.where(torch.rand(110, 3) < 0.95, 0, 3)
    for ids in (one, elsewhere, uneven):
        check(x, w_up, w_down, weights, ids)
    for none in (-1, 4, 2**32, -(2**62)):
        nowhere = aot_kernels.moe(x, w_up, w_down, weights, torch.full((110, 3), none))
        assert torch.equal(nowhere, torch.zeros_like(x))


@dtypes
def test_strides(dtype):
    torch.manual_seed(4)
    x, w_up, w_down, weights, ids = operands(20, 2, 3, 36, 20, dtype)
    plain = check(x, w_up, w_down, weights, ids)
    turned = [t.transpose(-1, -2).contiguous().transpose(-1, -2) for t in (x, w_up, w_down)]
    apart = [torch.stack([t, t], -1)[..., 0] for t in (weights, ids)]
    assert torch.equal(plain, aot_kernels.moe(*turned, *apart))
    assert torch.equal(plain, aot_kernels.moe(x, w_up, w_down, weights.double(), ids.int()))


def test_nan_stays_with_its_token():
    torch.manual_seed(5)
    x, w_up, w_down, weights, ids = operands(9, 2, 3, 36, 20, torch.float32)
    for activation in ("silu", "swiglu"):
        whole = aot_kernels.moe(x, w_up, w_down, weights, ids, activation)
        spoilt = x.clone()
        spoilt[4, 7] = float("nan")
        found = aot_kernels.moe(spoilt, w_up, w_down, weights, ids, activation)
        rest = torch.arange(9) != 4
        assert found[4].isnan().all() and torch.equal(found[rest], whole[rest])


def test_result_does_not_depend_on_the_number_of_threads():
    torch.manual_seed(6)
    given = operands(130, 3, 5, 300, 280, torch.float32)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            results.append(aot_kernels.moe(*given))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("tokens, topk, dim, inter", [(0, 2, 8, 8), (3, 0, 8, 8), (3, 2, 8, 0)])
def test_nothing_gives_zeros(tokens, topk, dim, inter):
    x, weights = torch.ones(tokens, dim), torch.ones(tokens, topk)
    w_up, w_down = torch.ones(2, 2 * inter, dim), torch.ones(2, dim, inter)
    found = aot_kernels.moe(x, w_up, w_down, weights, torch.zeros(tokens, topk).int())
    assert torch.equal(found, torch.zeros(tokens, dim))


def test_what_does_not_fit_is_refused():
    x, w_up, w_down, weights, ids = operands(4, 2, 3, 8, 6, torch.float32)
    with pytest.raises(ValueError, match=r"got \(4, 8\), \(3, 12, 8\), \(3, 8, 5\)"):
        aot_kernels.moe(x, w_up, w_down[..., :5], weights, ids)
    with pytest.raises(ValueError, match="topk_weights and topk_ids"):
        aot_kernels.moe(x, w_up, w_down, weights[:, :1], ids)
    with pytest.raises(TypeError, match=r"topk_ids has .* int32 or int64, not torch\.float32"):
        aot_kernels.moe(x, w_up, w_down, weights, ids.float())
    with pytest.raises(TypeError, match="topk_weights has to be of a floating dtype"):
        aot_kernels.moe(x, w_up, w_down, ids, ids)
    with pytest.raises(TypeError, match=r"w_up: torch\.float16"):
        aot_kernels.moe(x, w_up.half(), w_down, weights, ids)
    with pytest.raises(TypeError, match="topk_ids is on meta, not on cpu"):
        aot_kernels.moe(x, w_up, w_down, weights, ids.to("meta"))
    with pytest.raises(ValueError, match="topk_weights requires a gradient"):
        aot_kernels.moe(x, w_up, w_down, weights.requires_grad_(), ids)
    with pytest.raises(ValueError, match="unknown activation 'relu'"):
        aot_kernels.moe(x, w_up, w_down, weights, ids, "relu")


def test_rows_are_those_that_the_launcher_asks_for():
    for name, gated in (("moe_up.csv", "true"), ("moe_down.csv", "false")):
        with open(ROWS / name, newline="") as stream:
            rows = [tuple(row.values()) for row in csv.DictReader(stream)]
        wanted = itertools.product(DTYPES.values(), [gated], [tuple(map(str, TILE.values()))])
        assert rows == [(dtype, flag, *tile) for dtype, flag, tile in wanted]
