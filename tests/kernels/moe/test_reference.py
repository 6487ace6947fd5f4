"""The references themselves, against sums written out, and formats against their definition."""

import math

import pytest

torch = pytest.importorskip("torch")

from aot_kernels import mx  # noqa: E402
from aot_kernels.gated import gated  # noqa: E402
from aot_kernels.reference.moe import activated, moe  # noqa: E402

pytestmark = pytest.mark.torch


def test_moe_is_the_sum_that_is_written_here():
    torch.manual_seed(0)
    tokens, experts, dim, inter = 3, 4, 5, 2
    x, w_up = torch.randn(tokens, dim), torch.randn(experts, 2 * inter, dim)
    w_down = torch.randn(experts, dim, inter)
    topk_ids, weights = torch.tensor([[0, 2], [2, 0], [-1, 1]]), torch.rand(tokens, 2)
    found = moe(x, w_up, w_down, weights, topk_ids, "silu")
    for token in range(tokens):
        for column in range(dim):
            total = 0.0
            for k, expert in enumerate(topk_ids[token].tolist()):
                for i in range(inter if expert >= 0 else 0):
                    gate = float(w_up[expert, i].double() @ x[token].double())
                    up = float(w_up[expert, inter + i].double() @ x[token].double())
                    h = gate / (1 + math.exp(-gate)) * up
                    total += float(weights[token, k]) * float(w_down[expert, column, i]) * h
            assert math.isclose(found[token, column].item(), total, rel_tol=1e-12)


def test_swiglu_is_clamped():
    gate = torch.tensor([-20.0, -1.0, 0.5, 7.0, 9.0])
    up = torch.tensor([9.0, -9.0, 0.5, 7.0, -7.0])
    found = activated(gate, up, "swiglu").tolist()
    for g, u, each in zip(gate.tolist(), up.tolist(), found, strict=True):
        g, u = min(g, 7.0), min(max(u, -7.0), 7.0)
        assert math.isclose(each, g / (1 + math.exp(-1.702 * g)) * (u + 1), rel_tol=1e-12)
    with pytest.raises(ValueError, match="unknown activation 'gelu'; known: 'silu', 'swiglu'"):
        gated("gelu")


@pytest.mark.parametrize("form, widest", [("e2m1", 6.0), ("e4m3", 448.0)])
def test_every_number_of_a_form_survives(form, widest):
    if form == "e2m1":
        numbers = torch.tensor([sign * size for size in mx.E2M1 for sign in (1, -1)])
    else:
        numbers = torch.arange(256).to(torch.uint8).view(torch.float8_e4m3fn).float()
        numbers = numbers[numbers.isfinite()]
        numbers = torch.cat([numbers, numbers.new_zeros(-len(numbers) % 16)])
    for power in (-127 + 9, -3, 0, 5, 100):
        # A block's largest number sets its scale.
        blocks = torch.cat([numbers.view(-1, 16), torch.full((len(numbers) // 16, 16), widest)], 1)
        x = (blocks.double() * 2.0**power).float()
        values, scales = mx.encoded(x, form)
        assert torch.equal(mx.decoded(values, scales, form), x.double())
        assert mx.form_of(values, 32) == form and scales.shape == (len(x), 1)


def test_rounding_is_to_the_nearest_and_to_even_between_two():
    x = torch.zeros(1, 32)
    x[0, :12] = torch.tensor([4.0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 0.26, 0.74, 5.1, -2.5])
    found = mx.decoded(*mx.encoded(x, "e2m1"), "e2m1")[0, :12]
    assert found.tolist() == [4, 0, 1, 1, 2, 2, 4, 4, 0.5, 0.5, 6, -2]


@pytest.mark.parametrize("form, bits, widest", [("e2m1", 1, 6.0), ("e4m3", 3, 448.0)])
def test_the_error_of_a_number_is_half_a_step_or_what_is_cut_off(form, bits, widest):
    torch.manual_seed(1)
    x = (torch.randn(50, 256) * torch.exp2(torch.randint(-60, 60, (50, 1)))).double()
    x[3, :32] = 0
    most = x.unflatten(1, (-1, 32)).abs().amax(-1).repeat_interleave(32, 1).clamp(min=2.0**-120)
    scale = torch.exp2(most.log2().floor() - math.floor(math.log2(widest)))
    sizes = x.abs() / scale
    smallest = 1.0 if form == "e2m1" else 2.0**-6
    step = torch.exp2(sizes.clamp(min=smallest).log2().floor() - bits)
    bound = torch.where(sizes > widest, sizes - widest, step / 2) * scale
    found = mx.decoded(*mx.encoded(x, form), form)
    assert ((found - x).abs() <= bound).all() and (found[3, :32] == 0).all()
    assert (sizes > widest).any(), "none was cut off"


def test_what_is_not_finite_makes_its_block_nan():
    x = torch.ones(2, 64)
    x[0, 5], x[1, 40] = float("inf"), float("nan")
    found = mx.decoded(*mx.encoded(x, "e4m3"), "e4m3")
    assert found.isnan().tolist() == [[True] * 32 + [False] * 32, [False] * 32 + [True] * 32]


def test_bytes_that_are_no_form_are_refused():
    assert mx.form_of(torch.empty(3, 16, dtype=torch.uint8), 32) == "e2m1"
    for wrong in (torch.empty(3, 32, dtype=torch.int8), torch.empty(3, 16)):
        with pytest.raises(TypeError, match="rows of 32 elements"):
            mx.form_of(wrong, 32)
