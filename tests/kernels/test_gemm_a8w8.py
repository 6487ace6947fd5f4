"""gemm_a8w8 against float64, within what its sums and one rounding allow."""

import csv
import itertools
from pathlib import Path
from types import ModuleType

import pytest

torch = pytest.importorskip("torch")

import aot_kernels  # noqa: E402
from aot_kernels.cpu.gemm_a8w8 import BYTES, TILE  # noqa: E402
from aot_kernels.operations.gemm_a8w8 import RESULTS  # noqa: E402
from aot_kernels.reference import gemm as reference  # noqa: E402
from aot_kernels.shuffled import unshuffle_weight  # noqa: E402
from aot_kernels.tensors import DTYPES  # noqa: E402

ROWS = Path(__file__).parents[2] / "kernels/aot_kernels/cpu/gemm_a8w8.csv"
pytestmark = pytest.mark.torch
dtypes = pytest.mark.parametrize("dtype", BYTES, ids=BYTES.get)
SHAPES = [
    (1, 16, 32), (1, 4096, 64), (7, 48, 96), (33, 272, 288), (97, 256, 256), (200, 528, 1056),
    (16, 1024, 512),
]  # fmt: skip


def matrix(rows, cols, dtype):
    if dtype is torch.int8:
        return torch.randint(-128, 128, (rows, cols)).to(dtype)
    return (torch.randn(rows, cols) * 8).to(dtype)


def check(a, weight, bias=None, out=torch.bfloat16):
    """Compare with float64. An integer sum is exact, one in fp32 rounded K times."""
    scale_a, scale_b = torch.rand(a.shape[0]) + 0.01, torch.rand(weight.shape[0]) / 64
    b = aot_kernels.shuffle_weight(weight)
    c = aot_kernels.gemm_a8w8(a, b, scale_a, scale_b, bias, out)
    exact = reference.gemm_a8w8(a, b, scale_a, scale_b, bias)
    size = reference.gemm_a8w8(
        a.double().abs(), b.double().abs(), scale_a, scale_b, None if bias is None else bias.abs()
    )
    kind, sums = torch.finfo(out), 0 if a.dtype is torch.int8 else a.shape[1]
    bound = (sums + 5) * 2**-24 * size
    bound += kind.eps / 2 * (exact.abs() + bound) + kind.smallest_normal * kind.eps
    assert c.dtype is out and c.shape == exact.shape and c.is_contiguous()
    assert ((c.double() - exact).abs() <= bound).all()
    return c


@dtypes
@pytest.mark.parametrize("out", RESULTS, ids=DTYPES.get)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_product(target, shape, dtype, out):
    m, n, k = shape
    a, weight = matrix(m, k, dtype), matrix(n, k, dtype)
    check(a, weight, None, out)
    check(a, weight, torch.randn(n).to(out), out)


@dtypes
def test_every_byte_has_the_value_that_torch_gives_it(target, dtype):
    every = torch.arange(256).to(torch.uint8).view(dtype)
    one = torch.zeros(32, 32).to(dtype)
    one.view(torch.uint8).fill_diagonal_(int(torch.ones(1).to(dtype).view(torch.uint8)))
    scales = torch.ones(8), torch.ones(32)
    b = aot_kernels.shuffle_weight(one)
    rows = every.view(8, 32)
    found = aot_kernels.gemm_a8w8(rows, b, *scales, out_dtype=torch.float16)
    nan = rows.float().isnan()
    # A NaN spoils its row.
    assert torch.equal(found.isnan().all(1), nan.any(1))
    kept = rows[~nan.any(1)]
    assert torch.equal(found[~nan.any(1)], kept.half())
    # Once more, a byte a row: all others count.
    alone = torch.zeros(256, 32).to(dtype)
    alone[:, 5] = every
    found = aot_kernels.gemm_a8w8(alone, b, torch.ones(256), scales[1], out_dtype=torch.float16)
    assert torch.equal(found[:, 5].isnan(), every.float().isnan())
    fine = ~every.float().isnan()
    assert torch.equal(found[fine, 5], every.half()[fine])


def test_integers_are_summed_exactly(target):
    k = 2**16 + 32
    a, weight = torch.full((1, k), -128).to(torch.int8), torch.full((16, k), -128).to(torch.int8)
    a[0, 0], weight[1, 0] = 1, 1
    b, one = aot_kernels.shuffle_weight(weight), torch.ones(1)
    minus = torch.full((16,), -float(2**14 * (k - 1)), dtype=torch.bfloat16)
    found = aot_kernels.gemm_a8w8(a, b, one, torch.ones(16), minus)
    # 2 ** 30 + 507904 - 128 takes 31 bits; fp32 rounds it, once, before the bias.
    sums = torch.full((16,), 2**14 * (k - 1) - 128)
    sums[1] = 2**14 * (k - 1) + 1
    assert torch.equal(found[0], (sums.float() + minus.float()).bfloat16())


@dtypes
def test_strides(target, dtype):
    a, weight = matrix(37, 77 * 2, dtype)[:, 3:99], matrix(64, 96, dtype)
    torch.manual_seed(3)
    expected = check(a.clone(), weight)
    for other in (a, a.t().contiguous().t(), a.repeat_interleave(2, 0)[::2]):
        torch.manual_seed(3)
        assert torch.equal(check(other, weight), expected)
    b = aot_kernels.shuffle_weight(weight)
    scales = torch.rand(74)[::2], torch.rand(128)[::2]
    apart = torch.stack([b.view(torch.uint8)] * 2, -1)[..., 0].view(torch.uint8)
    found = aot_kernels.gemm_a8w8(a, apart.view(dtype), *scales)
    assert torch.equal(found, aot_kernels.gemm_a8w8(a, b, *(s.clone() for s in scales)))


@dtypes
@pytest.mark.parametrize("m, n, k", [(0, 16, 32), (3, 0, 32), (3, 16, 0), (0, 0, 0)])
def test_without_elements(target, dtype, m, n, k):
    a, b = torch.ones(m, k).to(dtype), aot_kernels.shuffle_weight(torch.ones(n, k).to(dtype))
    bias = torch.randn(n).half()
    c = aot_kernels.gemm_a8w8(a, b, torch.ones(m), torch.ones(n), bias, torch.float16)
    assert torch.equal(c, bias.expand(m, n))


def test_result_does_not_depend_on_the_number_of_threads(target):
    a, weight = matrix(130, 544, torch.float8_e4m3fn), matrix(320, 544, torch.float8_e4m3fn)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            torch.manual_seed(1)
            results.append(check(a, weight))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_weights_are_shuffled_as_rocm_does():
    """By the index arithmetic of its kernels: 16 bytes of each of 16 rows, then the next of K."""
    n, k = 48, 96
    weight = torch.arange(n * k).remainder(251).to(torch.uint8).view(n, k)
    flat = aot_kernels.shuffle_weight(weight).flatten()
    for row, col in itertools.product((0, 5, 15, 16, 47), (0, 1, 15, 16, 33, 95)):
        at = row // 16 * 16 * k + col // 16 * 256 + row % 16 * 16 + col % 16
        assert flat[at] == weight[row, col]
    assert torch.equal(unshuffle_weight(aot_kernels.shuffle_weight(weight)), weight)
    experts = torch.stack([weight, weight.flip(0)])
    each = torch.stack([aot_kernels.shuffle_weight(expert) for expert in experts])
    assert torch.equal(aot_kernels.shuffle_weight(experts), each)


def test_weights_that_cannot_be_shuffled():
    with pytest.raises(ValueError, match=r"N a multiple of 16, K of 32; got \(8, 32\)"):
        aot_kernels.shuffle_weight(torch.ones(8, 32).to(torch.int8))
    with pytest.raises(ValueError, match=r"got \(16, 48\)"):
        aot_kernels.shuffle_weight(torch.ones(16, 48).to(torch.int8))
    with pytest.raises(TypeError, match=r"8 bits are expected; got torch.bfloat16"):
        aot_kernels.shuffle_weight(torch.ones(16, 32).bfloat16())


def test_what_does_not_fit(shipped: ModuleType):
    a, b = torch.ones(2, 32).to(torch.int8), torch.ones(16, 32).to(torch.int8)
    one, many = torch.ones(2), torch.ones(16)
    with pytest.raises(ValueError, match=r"got a \(2, 32\), b \(16, 32\), scale_a \(16,\)"):
        aot_kernels.gemm_a8w8(a, b, many, many)
    with pytest.raises(ValueError, match=r"K of 32; got N = 8, K = 32"):
        aot_kernels.gemm_a8w8(a, b[:8], one, many[:8])
    with pytest.raises(TypeError, match=r"b has to be of torch.int8; got torch.float8_e4m3fn"):
        aot_kernels.gemm_a8w8(a, b.to(torch.float8_e4m3fn), one, many)
    with pytest.raises(TypeError, match=r"a has to be of .*; got torch.float8_e5m2"):
        aot_kernels.gemm_a8w8(a.to(torch.float8_e5m2), b, one, many)
    with pytest.raises(TypeError, match=r"out_dtype has to be of .*; got torch.float32"):
        aot_kernels.gemm_a8w8(a, b, one, many, out_dtype=torch.float32)
    with pytest.raises(TypeError, match=r"bias has to be of torch.float16; got torch.float32"):
        aot_kernels.gemm_a8w8(a, b, one, many, many, torch.float16)
    deep = torch.ones(16, 2**17).to(torch.int8)
    with pytest.raises(ValueError, match="K of int8 has to be below 131072; got 131072"):
        aot_kernels.gemm_a8w8(deep[:2], deep, one, many)
    with pytest.raises(TypeError, match=r"scale_b is a .* tensor on meta"):
        aot_kernels.gemm_a8w8(a, b, one, many.to("meta"))


def test_rows_are_those_that_the_launcher_asks_for():
    with open(ROWS, newline="") as stream:
        rows = [tuple(row.values()) for row in csv.DictReader(stream)]
    tile = tuple(map(str, TILE.values()))
    wanted = itertools.product(BYTES.values(), (DTYPES[out] for out in RESULTS))
    assert sorted(rows) == sorted((dtype, out, *tile) for dtype, out in wanted)
