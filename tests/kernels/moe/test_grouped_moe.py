"""Grouped products on the CPU against float64, block-scaled ones included."""

import pytest

torch = pytest.importorskip("torch")

import aot_kernels  # noqa: E402
from aot_kernels import mx  # noqa: E402
from aot_kernels.reference import grouped_moe as reference  # noqa: E402
from aot_kernels.tensors import DTYPES  # noqa: E402

from tests.kernels.moe.bounds import expert, product, rounding, worst  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("target")]
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=DTYPES.get)


def operands(experts, room, dim, inter):
    x = torch.randn(experts, room, dim)
    w_up = torch.randn(experts, 2 * inter, dim) * dim**-0.5 * 2
    return x, w_up, torch.randn(experts, dim, inter)


@dtypes
@pytest.mark.parametrize(
    "counts, dim, columns", [([1], 1, 1), ([0, 130, 3], 70, 150), ([7, 0, 9, 1], 260, 40)]
)
def test_one_product(dtype, counts, dim, columns):
    torch.manual_seed(dim)
    room = max(counts)
    a = torch.randn(len(counts), room, dim).to(dtype)
    b = torch.randn(len(counts), columns, dim).to(dtype)
    found = aot_kernels.grouped_gemm(a, b, torch.tensor(counts))
    assert found.shape == (len(counts), room, columns) and found.dtype is dtype
    exact = reference.grouped_gemm(a, b, torch.tensor(counts))
    for number, count in enumerate(counts):
        rows = a[number, :count].double()
        own, error = product(rows, torch.zeros_like(rows), b[number])
        assert torch.allclose(own, exact[number, :count], rtol=1e-12, atol=1e-12)
        assert worst(found[number, :count], own, rounding(own, error, dtype)) <= 1
        assert (exact[number, count:] == 0).all()
    turned = b.transpose(1, 2).contiguous().transpose(1, 2)
    again = aot_kernels.grouped_gemm(a[:, :, :], turned, torch.tensor(counts).int())
    for number, count in enumerate(counts):
        assert torch.equal(found[number, :count], again[number, :count])


@dtypes
@pytest.mark.parametrize("activation", ["silu", "swiglu"])
def test_both_products(dtype, activation):
    torch.manual_seed(2)
    x, w_up, w_down = (t.to(dtype) for t in operands(3, 20, 90, 33))
    counts = torch.tensor([20, 0, 7])
    found = aot_kernels.grouped_moe(x, w_up, w_down, counts, activation)
    exact = reference.grouped_moe(x, w_up, w_down, counts, activation)
    for number, count in enumerate(counts.tolist()):
        rows = x[number, :count].double()
        h, error = expert(rows, torch.zeros_like(rows), w_up[number], activation, dtype)
        own, error = product(h, error, w_down[number])
        assert torch.allclose(own, exact[number, :count], rtol=1e-9, atol=1e-9)
        assert worst(found[number, :count], own, rounding(own, error, dtype)) <= 1


@pytest.mark.parametrize("form", mx.FORMS)
def test_block_scaled_operands_are_what_they_decode_to(form):
    torch.manual_seed(3)
    x, w_up, w_down = operands(2, 12, 96, 64)
    counts = torch.tensor([12, 5])
    (x, by), (w_up, up_by), (w_down, down_by) = (
        mx.encoded(x, form), mx.encoded(w_up, "e2m1"), mx.encoded(w_down, "e2m1"),
    )  # fmt: skip
    found = aot_kernels.grouped_moe(
        x, w_up, w_down, counts, x_scale=by, w_up_scale=up_by, w_down_scale=down_by
    )
    plain = [mx.decoded(v, s, f) for v, s, f in ((x, by, form), (w_up, up_by, "e2m1"))]
    for number, count in enumerate(counts.tolist()):
        rows = plain[0][number, :count]
        both = aot_kernels.gemm(rows.float(), plain[1][number].float().t())
        own = both[:, :64] * torch.sigmoid(both[:, :64]) * both[:, 64:]
        # Between the products both round: a bit of bf16, and half a step of the form, may differ.
        h = mx.decoded(*mx.encoded(own.bfloat16(), form), form)
        down = mx.decoded(w_down[number], down_by[number], "e2m1")
        size = own.double().abs() @ down.abs().t()
        error = (found[number, :count].double() - h @ down.t()).abs()
        assert found.dtype is torch.bfloat16 and (error <= size * 2.0**-6).all()
    one = aot_kernels.grouped_gemm(x, w_up, counts, a_scale=by, b_scale=up_by)
    for number, count in enumerate(counts.tolist()):
        rows = plain[0][number, :count]
        own, error = product(rows, torch.zeros_like(rows), plain[1][number])
        assert worst(one[number, :count], own, rounding(own, error, torch.bfloat16)) <= 1


def test_nothing_gives_nothing():
    empty = aot_kernels.grouped_gemm(torch.ones(2, 0, 4), torch.ones(2, 3, 4), torch.zeros(2).int())
    assert empty.shape == (2, 0, 3)
    flat = aot_kernels.grouped_gemm(torch.ones(2, 5, 0), torch.ones(2, 3, 0), torch.tensor([5, 0]))
    assert torch.equal(flat[0], torch.zeros(5, 3))


def test_what_does_not_fit_is_refused():
    a, b, counts = torch.ones(2, 4, 64), torch.ones(2, 6, 64), torch.tensor([4, 0])
    with pytest.raises(ValueError, match=r"got \(2, 4, 64\), \(2, 6, 63\) and \(2,\)"):
        aot_kernels.grouped_gemm(a, b[..., 1:], counts)
    with pytest.raises(ValueError, match=r"and \(1,\)"):
        aot_kernels.grouped_gemm(a, b, counts[:1])
    with pytest.raises(ValueError, match="2 I"):
        aot_kernels.grouped_moe(a, b[:, :5], b, counts)
    with pytest.raises(ValueError, match="either all operands have scales, or none"):
        aot_kernels.grouped_gemm(a, b, counts, a_scale=a)
    (x, by), (w, w_by) = mx.encoded(a, "e4m3"), mx.encoded(b, "e2m1")
    with pytest.raises(TypeError, match="rows of 64 elements"):
        aot_kernels.grouped_gemm(a, w, counts, a_scale=by, b_scale=w_by)
    with pytest.raises(TypeError, match="weights have to be e2m1"):
        aot_kernels.grouped_gemm(x, *mx.encoded(b, "e4m3")[:1], counts, a_scale=by, b_scale=w_by)
    with pytest.raises(ValueError, match="a scale for each 32"):
        aot_kernels.grouped_gemm(x, w, counts, a_scale=by, b_scale=w_by[..., :1])
    for bad in (by.to("meta"), by.tolist()):
        with pytest.raises(TypeError, match="a_scale is a"):
            aot_kernels.grouped_gemm(x, w, counts, a_scale=bad, b_scale=w_by)
    with pytest.raises(TypeError, match=r"a is a .* tensor on meta"):
        aot_kernels.grouped_gemm(
            *(t.to("meta") for t in (x, w, counts)),
            a_scale=by.to("meta"), b_scale=w_by.to("meta"),
        )  # fmt: skip
    with pytest.raises(TypeError, match="rows of 0 elements"):
        aot_kernels.grouped_gemm(x, w, counts, a_scale=by[0, 0, 0], b_scale=w_by)
    with pytest.raises(ValueError, match="I has to be a multiple of 32; got 3"):
        aot_kernels.grouped_moe(x, w, w, counts, x_scale=by, w_up_scale=w_by, w_down_scale=w_by)
