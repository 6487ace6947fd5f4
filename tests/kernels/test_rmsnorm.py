"""rmsnorm against float64, within what fp32 sums and one rounding allow."""

import csv
import itertools
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

torch = pytest.importorskip("torch")

import aot_kernels  # noqa: E402
from aot_kernels.cpu.rmsnorm import FIXED  # noqa: E402
from aot_kernels.tensors import DTYPES  # noqa: E402

ROWS = Path(__file__).parents[2] / "kernels/aot_kernels/cpu/rmsnorm.csv"
pytestmark = pytest.mark.torch
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=DTYPES.get)
NAN, INF = float("nan"), float("inf")


def exact(x, weight, eps):
    x = x.double()
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight.double()


def check(x, weight, eps=1e-6):
    """Compare with float64. 16 sums or more run side by side, so each adds N / 16 roundings."""
    y = aot_kernels.rmsnorm(x, weight, eps)
    expected = exact(x, weight, eps)
    kind = torch.finfo(x.dtype)
    bound = expected.abs() * (kind.eps / 2 + 1.01 * (x.shape[-1] / 16 + 32) * 2**-24)
    bound += kind.smallest_normal * kind.eps
    assert y.dtype is x.dtype and y.shape == x.shape and y.is_contiguous()
    assert ((y.double() - expected).abs() <= bound).all()
    return y


@dtypes
@pytest.mark.parametrize("cols", [1, 3, 4, 7, 8, 31, 32, 33, 100, 1000, 1023, 1025, *FIXED])
@pytest.mark.parametrize("rows", [1, 5, 67])
def test_norm(target, dtype, rows, cols):
    check(torch.randn(rows, cols).to(dtype), torch.randn(cols).to(dtype))


@dtypes
def test_dimensions_before_the_last_are_rows(target, dtype):
    weight = torch.randn(24).to(dtype)
    check(torch.randn(24).to(dtype), weight)
    check(torch.randn(2, 3, 4, 24).to(dtype), weight)


@dtypes
@pytest.mark.parametrize("cols", [50, 1024])
def test_strides(target, dtype, cols):
    weight = torch.randn(2 * cols).to(dtype)[::2]
    for x in (
        torch.randn(9, cols + 3).to(dtype)[:, 1 : cols + 1],
        torch.randn(cols, 9).to(dtype).t(),
        torch.randn(9, 2 * cols).to(dtype)[::3, ::2],
        torch.randn(4, 9, cols).to(dtype).transpose(0, 1),
        torch.randn(1, cols).to(dtype).expand(5, cols),
        torch.randn(5, 1).to(dtype).expand(5, cols),
    ):
        assert torch.equal(check(x, weight), aot_kernels.rmsnorm(x.clone(), weight.clone()))


@dtypes
@pytest.mark.parametrize("shape", [(0,), (0, 8), (3, 0), (2, 0, 5)], ids=str)
def test_empty(target, dtype, shape):
    y = aot_kernels.rmsnorm(torch.ones(shape, dtype=dtype), torch.ones(shape[-1], dtype=dtype))
    assert y.shape == shape and y.dtype is dtype


@dtypes
def test_nan_and_infinity_spoil_their_row_alone(target, dtype):
    x, weight = torch.randn(6, 1024).to(dtype), torch.ones(1024, dtype=dtype)
    x[1, 1023], x[4, 0] = NAN, INF
    y = aot_kernels.rmsnorm(x, weight)
    assert y[1].isnan().all()
    assert y[4, 0].isnan() and (y[4, 1:] == 0).all()
    kept = [0, 2, 3, 5]
    assert torch.equal(y[kept], check(x[kept], weight))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_subnormals_and_large_values(target, dtype):
    kind = torch.finfo(dtype)
    small = torch.full((2, 40), kind.smallest_normal / 4, dtype=dtype)
    check(small, torch.ones(40, dtype=dtype), eps=1.0)
    check(torch.full((2, 40), min(kind.max, 1e15), dtype=dtype), torch.ones(40, dtype=dtype))


def test_eps_counts(target):
    x, weight = torch.zeros(2, 10), torch.ones(10)
    assert torch.equal(aot_kernels.rmsnorm(x, weight), x)
    assert torch.allclose(aot_kernels.rmsnorm(x + 1, weight, eps=3.0), x + 0.5)


def test_many_rows_over_many_threads(target):
    x, weight = torch.randn(4099, 129), torch.randn(129)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = check(x, weight)
        torch.set_num_threads(3)
        assert torch.equal(alone, aot_kernels.rmsnorm(x, weight))
    finally:
        torch.set_num_threads(before)


@dtypes
@pytest.mark.parametrize("shape", [(5, 64), (3, 4, 100), (7,), (0, 8)], ids=str)
def test_sum_with_a_residual(target, dtype, shape):
    x, residual = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
    weight = torch.randn(shape[-1]).to(dtype)
    y, total = aot_kernels.add_rmsnorm(x, residual, weight, eps=0.5)
    assert torch.equal(total, x + residual) and total.is_contiguous()
    assert torch.equal(y, aot_kernels.rmsnorm(total, weight, eps=0.5))
    y, total = aot_kernels.add_rmsnorm(x.mT.contiguous().mT if x.dim() > 1 else x, x, weight)
    assert torch.equal(total, x + x) and total.is_contiguous()


def test_what_does_not_fit(shipped: ModuleType):
    x = torch.ones(2, 8)
    with pytest.raises(ValueError, match=r"x \(2, 8\), weight \(7,\)"):
        aot_kernels.rmsnorm(x, torch.ones(7))
    with pytest.raises(ValueError, match=r"x \(\)"):
        aot_kernels.rmsnorm(torch.ones(()), torch.ones(1))
    with pytest.raises(TypeError, match=r"weight: torch.bfloat16"):
        aot_kernels.rmsnorm(x, torch.ones(8).bfloat16())
    with pytest.raises(TypeError, match=r"torch.int64"):
        aot_kernels.rmsnorm(x.long(), torch.ones(8).long())
    with pytest.raises(TypeError, match="on meta"):
        aot_kernels.rmsnorm(x.to("meta"), torch.ones(8))
    with pytest.raises(TypeError, match=r"weight is a .* tensor on meta"):
        aot_kernels.rmsnorm(x, torch.ones(8).to("meta"))
    with pytest.raises(ValueError, match=r"x \(2, 8\), residual \(8,\)"):
        aot_kernels.add_rmsnorm(x, torch.ones(8), torch.ones(8))
    with pytest.raises(ValueError, match=r"add_rmsnorm: .* weight \(7,\)"):
        aot_kernels.add_rmsnorm(x, x, torch.ones(7))


def test_rows_are_those_that_the_launcher_asks_for():
    with open(ROWS, newline="") as stream:
        rows = [(row["DTYPE"], int(row["COLS"])) for row in csv.DictReader(stream)]
    assert sorted(rows) == sorted(itertools.product(DTYPES.values(), (0, *FIXED)))


def test_a_row_that_was_not_shipped_is_an_error(shipped: ModuleType):
    from aot_kernels.cpu.rmsnorm import _variant

    with pytest.raises(shipped.KernelNotFound):
        _variant("bf16", 1000)


def test_import_is_light():
    code = "import aot_kernels, sys; assert not {'torch', 'ctypes', 'aot_build'} & {*sys.modules}"
    root = str(Path(aot_kernels.__file__).parents[1])
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": root}, check=True)
