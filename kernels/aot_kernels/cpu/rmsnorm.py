"""Root-mean-square normalisation on the CPU, by the variants that `rmsnorm.csv` lists."""

from collections.abc import Callable
from ctypes import c_float, c_int64, c_void_p
from functools import cache

import torch

from aot_kernels.cpu.library import function
from aot_kernels.tensors import DTYPES

FIXED = (1024, 4096, 8192)
"""Row lengths with a variant of their own; COLS = 0 serves all others."""

ARGUMENTS = [c_void_p] * 3 + [c_int64] * 4 + [c_float, c_int64]


@cache
def _variant(dtype: str, cols: int) -> Callable[..., None]:
    return function("rmsnorm", "aot_rmsnorm", ARGUMENTS, {"DTYPE": dtype, "COLS": cols})


def rmsnorm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """The norm of tensors that were checked: see `aot_kernels.operations.norm.rmsnorm`."""
    y = x.new_empty(x.shape)
    if y.numel() == 0:
        return y
    cols = x.shape[-1]
    rows = x.resolve_neg().reshape(-1, cols)
    if rows.stride(1) != 1:
        rows = rows.contiguous()
    weight = weight.resolve_neg().contiguous()
    _variant(DTYPES[x.dtype], cols if cols in FIXED else 0)(
        rows.data_ptr(), weight.data_ptr(), y.data_ptr(),
        rows.shape[0], cols, rows.stride(0), cols, eps, torch.get_num_threads(),
    )  # fmt: skip
    return y
