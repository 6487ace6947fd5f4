"""Root-mean-square normalisation on the CPU, by the variants that `rmsnorm.csv` lists."""

from collections.abc import Callable
from ctypes import c_float, c_int64, c_void_p
from functools import cache

import torch

from aot_kernels.cpu.library import check, function

FIXED = (1024, 4096, 8192)
"""Row lengths with a variant of their own; COLS = 0 serves all others."""

ARGUMENTS = [c_void_p] * 3 + [c_int64] * 4 + [c_float, c_int64]


@cache
def _variant(dtype: str, cols: int) -> Callable[..., None]:
    return function("rmsnorm", "aot_rmsnorm", ARGUMENTS, {"DTYPE": dtype, "COLS": cols})


def rmsnorm(x: torch.Tensor, weight: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    """`x * rsqrt(mean(x ** 2) + eps) * weight` over the last dimension: (..., N) and (N,).

    bf16, fp16 or fp32, both of one dtype; computed in fp32, rounded once. Rows may lie any stride
    apart; the result is contiguous. Uses up to `torch.get_num_threads()` threads.
    Raises TypeError for dtypes and devices, ValueError for shapes, `_aot.KernelNotFound` where the
    package was built without the variant.
    """
    dtype = check("rmsnorm", x=x, weight=weight)
    if x.dim() == 0 or tuple(weight.shape) != (x.shape[-1],):
        given = f"x {tuple(x.shape)}, weight {tuple(weight.shape)}"
        raise ValueError(f"rmsnorm: expected x (..., N) and weight (N,); got {given}")
    y = x.new_empty(x.shape)
    if y.numel() == 0:
        return y
    cols = x.shape[-1]
    rows = x.resolve_neg().reshape(-1, cols)
    if rows.stride(1) != 1:
        rows = rows.contiguous()
    weight = weight.resolve_neg().contiguous()
    _variant(dtype, cols if cols in FIXED else 0)(
        rows.data_ptr(), weight.data_ptr(), y.data_ptr(),
        rows.shape[0], cols, rows.stride(0), cols, eps, torch.get_num_threads(),
    )  # fmt: skip
    return y
