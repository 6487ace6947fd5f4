"""Matrix product on the CPU, by the variants that `gemm.csv` lists."""

from collections.abc import Callable
from ctypes import c_int64, c_void_p
from functools import cache

import torch

from aot_kernels.cpu.library import check, function

SKINNY = {"BM": 32, "BN": 512, "BK": 128}
"""Tile for few rows, where B is read once: wide, so that its rows are read in long runs."""
LARGE = {"BM": 192, "BN": 256, "BK": 256}
"""Tile for many rows: its three blocks fit the second-level cache."""

ARGUMENTS = [c_void_p] * 4 + [c_int64] * 9


@cache
def _variant(dtype: str, bias: bool, skinny: bool) -> Callable[..., None]:
    tile = SKINNY if skinny else LARGE
    return function("gemm", "aot_gemm", ARGUMENTS, {"DTYPE": dtype, "BIAS": bias, **tile})


def gemm(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`a @ b + bias`: (M, K) by (K, N) to (M, N), `bias` of (N,), all of one dtype.

    bf16, fp16 or fp32; summed in fp32, rounded once. Any strides, without a copy. K = 0 gives the
    bias, or zeros. Uses `torch.get_num_threads()` threads; results do not depend on their number.
    Raises TypeError for dtypes and devices, ValueError for shapes, `_aot.KernelNotFound` where the
    package was built without the variant.
    """
    tensors = {"a": a, "b": b} if bias is None else {"a": a, "b": b, "bias": bias}
    dtype = check("gemm", **tensors)
    m, n, k = _sizes(a, b, bias)
    c = a.new_empty((m, n))
    if m == 0 or n == 0:
        return c
    if bias is not None:
        bias = bias.resolve_neg().contiguous()
    a, b = a.resolve_neg(), b.resolve_neg()
    _variant(dtype, bias is not None, m <= SKINNY["BM"])(
        a.data_ptr(), b.data_ptr(), None if bias is None else bias.data_ptr(), c.data_ptr(),
        m, n, k, *a.stride(), *b.stride(), n, torch.get_num_threads(),
    )  # fmt: skip
    return c


def _sizes(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None) -> tuple[int, int, int]:
    left, right = tuple(a.shape), tuple(b.shape)
    fits = len(left) == 2 == len(right) and left[1] == right[0]
    if not fits or (bias is not None and tuple(bias.shape) != right[1:]):
        given = f"a {left}, b {right}" + ("" if bias is None else f", bias {tuple(bias.shape)}")
        raise ValueError(f"gemm: expected a (M, K), b (K, N) and bias (N,); got {given}")
    return left[0], right[1], left[1]
