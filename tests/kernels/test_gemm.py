"""gemm against float64, within what fp32 accumulation and one rounding allow."""

import csv
import itertools
import random
from pathlib import Path
from types import ModuleType

import pytest

torch = pytest.importorskip("torch")

import aot_kernels  # noqa: E402
from aot_kernels.cpu.gemm import LARGE, SKINNY  # noqa: E402
from aot_kernels.tensors import DTYPES  # noqa: E402

ROWS = Path(__file__).parents[2] / "kernels/aot_kernels/cpu/gemm.csv"
pytestmark = pytest.mark.torch
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=DTYPES.get)

SHAPES = [
    (1, 1, 1), (1, 1, 4096), (1, 777, 1), (513, 1, 3), (1, 4097, 129), (6, 16, 64), (7, 17, 65),
    (32, 512, 128), (33, 513, 129), (31, 1100, 70), (192, 256, 256), (193, 257, 257),
    (400, 300, 600), (1025, 33, 17), (16, 1024, 1024),
]  # fmt: skip


def check(a, b, bias=None):
    """Compare with float64; the bound is |A||B| (K + 2) u of fp32, then one rounding."""
    c = aot_kernels.gemm(a, b, bias)
    exact, size = a.double() @ b.double(), a.double().abs() @ b.double().abs()
    if bias is not None:
        exact, size = exact + bias.double(), size + bias.double().abs()
    kind = torch.finfo(a.dtype)
    bound = (a.shape[1] + 2) * 2**-24 * size
    bound += kind.eps / 2 * (exact.abs() + bound) + kind.smallest_normal * kind.eps
    assert c.dtype is a.dtype and c.shape == exact.shape and c.is_contiguous()
    assert ((c.double() - exact).abs() <= bound).all()
    return c


def tensor(rows, cols, dtype, layout="rows"):
    """Random values in one of the ways in which a matrix may lie in memory."""
    if layout == "columns":
        return torch.randn(cols, rows).to(dtype).t()
    if layout == "sliced":
        return torch.randn(rows, cols + 5).to(dtype)[:, 2 : cols + 2]
    if layout == "every other":
        return torch.randn(2 * rows, 3 * cols).to(dtype)[::2, ::3]
    if layout == "expanded":
        return torch.randn(rows, 1).to(dtype).expand(rows, cols)
    return torch.randn(rows, cols).to(dtype)


@dtypes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_product(target, shape, dtype):
    m, n, k = shape
    a, b, bias = tensor(m, k, dtype), tensor(k, n, dtype), tensor(1, n, dtype)[0]
    check(a, b)
    check(a, b, bias)


@pytest.mark.parametrize("seed", range(12))
def test_random_shapes(target, seed):
    dice = random.Random(seed)
    m, n, k = (int(2 ** dice.uniform(0, 9.5)) for _ in range(3))
    dtype = dice.choice(list(DTYPES))
    check(tensor(m, k, dtype), tensor(k, n, dtype), tensor(1, n, dtype)[0])


LAYOUTS = ["rows", "columns", "sliced", "every other", "expanded"]


@dtypes
@pytest.mark.parametrize("left, right", list(itertools.product(LAYOUTS, LAYOUTS)))
def test_strides(target, dtype, left, right):
    for m, n, k in ((37, 45, 77), (201, 270, 263)):
        a, b = tensor(m, k, dtype, left), tensor(k, n, dtype, right)
        bias = torch.randn(3 * n).to(dtype)[::3]
        assert torch.equal(check(a, b, bias), aot_kernels.gemm(a.clone(), b.contiguous(), bias))


@dtypes
def test_every_product_of_two_elements_is_rounded_as_torch_does(target, dtype):
    torch.manual_seed(7)
    short = dtype is not torch.float32
    bits = torch.randint(-(2**15), 2**15, (2, 700)).to(torch.int16)
    if not short:
        bits = torch.randint(-(2**31), 2**31, (2, 700)).to(torch.int32)
    a, b = bits.view(dtype)
    a[:4] = torch.tensor([0.0, float("inf"), float("-inf"), float("nan")])
    c = aot_kernels.gemm(a[:, None], b[None, :])
    expected = (a.float()[:, None] * b.float()[None, :]).to(dtype)
    assert torch.equal(c.isnan(), expected.isnan())
    assert torch.equal(c.nan_to_num(0.0, 1e30, -1e30), expected.nan_to_num(0.0, 1e30, -1e30))
    assert c.isnan().any() and c.isinf().any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_element_survives_unchanged(target, dtype):
    every = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    for a, b in ((every[:, None], torch.ones(1, 1)), (torch.ones(1, 1), every[None, :])):
        c = aot_kernels.gemm(a.to(dtype), b.to(dtype)).flatten()
        assert torch.equal(c.isnan(), every.isnan())
        assert torch.equal(c[~c.isnan()], every[~every.isnan()])


@dtypes
def test_nan_and_infinity_stay_in_their_row_and_column(target, dtype):
    a, b = tensor(40, 70, dtype), tensor(70, 50, dtype)
    a[3, 5], a[7, 0], b[11, 49] = float("nan"), float("inf"), float("-inf")
    c = aot_kernels.gemm(a, b)
    expected = a.double() @ b.double()
    assert torch.equal(c.isnan(), expected.isnan())
    assert torch.equal(c.isinf(), expected.isinf())
    finite = expected.isfinite()
    assert finite.sum() == 38 * 49
    assert torch.allclose(c.double()[finite], expected[finite], rtol=0.02, atol=0.05)


@dtypes
@pytest.mark.parametrize("m, n, k", [(0, 3, 4), (3, 0, 4), (0, 0, 0), (0, 5, 0)])
def test_empty_result(target, dtype, m, n, k):
    c = aot_kernels.gemm(torch.ones(m, k, dtype=dtype), torch.ones(k, n, dtype=dtype))
    assert c.shape == (m, n) and c.dtype is dtype


@dtypes
def test_no_inner_dimension_gives_the_bias_or_zeros(target, dtype):
    for m, n in ((3, 5), (200, 600)):
        a, b = torch.ones(m, 0, dtype=dtype), torch.ones(0, n, dtype=dtype)
        bias = tensor(1, n, dtype)[0]
        assert torch.equal(aot_kernels.gemm(a, b), torch.zeros(m, n, dtype=dtype))
        assert torch.equal(aot_kernels.gemm(a, b, bias), bias.expand(m, n))


@pytest.mark.parametrize("shape", [(16, 1000, 300), (300, 500, 700)], ids=str)
def test_result_does_not_depend_on_the_number_of_threads(target, shape):
    m, n, k = shape
    a, b = tensor(m, k, torch.float32), tensor(k, n, torch.float32)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            results.append(aot_kernels.gemm(a, b))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_shapes_that_do_not_fit(shipped: ModuleType):
    two, three = torch.ones(2, 2), torch.ones(3, 3)
    with pytest.raises(ValueError, match=r"a \(2, 2\), b \(3, 3\)"):
        aot_kernels.gemm(two, three)
    with pytest.raises(ValueError, match=r"bias \(3,\)"):
        aot_kernels.gemm(two, two, torch.ones(3))
    with pytest.raises(ValueError, match=r"a \(2,\)"):
        aot_kernels.gemm(torch.ones(2), two)


def test_types_that_do_not_fit(shipped: ModuleType):
    two = torch.ones(2, 2)
    with pytest.raises(TypeError, match=r"b: torch.float16"):
        aot_kernels.gemm(two, two.half())
    with pytest.raises(TypeError, match=r"torch.float64"):
        aot_kernels.gemm(two.double(), two.double())
    with pytest.raises(TypeError, match="on meta"):
        aot_kernels.gemm(two, two.to("meta"))
    with pytest.raises(TypeError, match="b is a list"):
        aot_kernels.gemm(two, [[1.0]])


def test_gradients_are_refused_rather_than_lost(shipped: ModuleType):
    weight = torch.ones(2, 2, requires_grad=True)
    with pytest.raises(ValueError, match="b requires a gradient"):
        aot_kernels.gemm(torch.ones(2, 2), weight)
    with torch.no_grad():
        assert torch.equal(aot_kernels.gemm(torch.ones(2, 2), weight), torch.full((2, 2), 2.0))


def test_rows_are_those_that_the_launcher_asks_for():
    with open(ROWS, newline="") as stream:
        rows = [tuple(row.values()) for row in csv.DictReader(stream)]
    tiles = [tuple(map(str, tile.values())) for tile in (SKINNY, LARGE)]
    wanted = itertools.product(DTYPES.values(), ("true", "false"), tiles)
    assert sorted(rows) == sorted((dtype, bias, *tile) for dtype, bias, tile in wanted)
