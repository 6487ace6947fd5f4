"""Matrix product on the CPU, by the variants that `gemm.csv` lists."""

from collections.abc import Callable
from ctypes import c_int64, c_void_p
from functools import cache

import torch

from aot_kernels.cpu.library import function
from aot_kernels.tensors import DTYPES

SKINNY = {"BM": 32, "BN": 512, "BK": 128}
"""Tile for few rows, where B is read once: wide, so that its rows are read in long runs."""
LARGE = {"BM": 192, "BN": 256, "BK": 256}
"""Tile for many rows: its three blocks fit the second-level cache."""

ARGUMENTS = [c_void_p] * 4 + [c_int64] * 9


@cache
def _variant(dtype: str, bias: bool, skinny: bool) -> Callable[..., None]:
    tile = SKINNY if skinny else LARGE
    return function("gemm", "aot_gemm", ARGUMENTS, {"DTYPE": dtype, "BIAS": bias, **tile})


def gemm(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """`a @ b + bias`, of tensors that were checked: see `aot_kernels.operations.gemm.gemm`.

    Copies neither a nor b, whatever their strides.
    """
    (m, k), n = a.shape, b.shape[1]
    c = a.new_empty((m, n))
    if m == 0 or n == 0:
        return c
    if bias is not None:
        bias = bias.resolve_neg().contiguous()
    a, b = a.resolve_neg(), b.resolve_neg()
    _variant(DTYPES[a.dtype], bias is not None, m <= SKINNY["BM"])(
        a.data_ptr(), b.data_ptr(), None if bias is None else bias.data_ptr(), c.data_ptr(),
        m, n, k, *a.stride(), *b.stride(), n, torch.get_num_threads(),
    )  # fmt: skip
    return c
