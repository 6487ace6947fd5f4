"""Products of 8-bit matrices on the CPU, by the variants that `gemm_a8w8.csv` lists."""

from collections.abc import Callable
from ctypes import c_int64, c_void_p
from functools import cache

import torch

from aot_kernels.cpu.library import function
from aot_kernels.tensors import DTYPES

BYTES = {torch.int8: "int8", torch.float8_e4m3fn: "e4m3fn", torch.float8_e4m3fnuz: "e4m3fnuz"}
"""The dtypes that there are kernels for, and how rows call them."""
TILE = {"BM": 96, "BN": 256, "BK": 256}
"""Its blocks fit the second-level cache. Few rows take no more of it than they are."""

ARGUMENTS = [c_void_p] * 6 + [c_int64] * 5


@cache
def _variant(dtype: str, out: str) -> Callable[..., None]:
    return function("gemm_a8w8", "aot_gemm_a8w8", ARGUMENTS, {"DTYPE": dtype, "OUT": out, **TILE})


def gemm_a8w8(
    a: torch.Tensor,
    b: torch.Tensor,
    scale_a: torch.Tensor,
    scale_b: torch.Tensor,
    bias: torch.Tensor | None,
    out_dtype: torch.dtype,
) -> torch.Tensor:
    """The product of tensors that were checked: see `aot_kernels.operations.gemm_a8w8`."""
    (m, k), n = a.shape, b.shape[0]
    c = a.new_empty((m, n), dtype=out_dtype)
    if m == 0 or n == 0:
        return c
    a = a if a.stride(1) == 1 else a.contiguous()
    b, scale_a, scale_b = (t.resolve_neg().contiguous() for t in (b, scale_a, scale_b))
    if bias is not None:
        bias = bias.resolve_neg().contiguous()
    _variant(BYTES[a.dtype], DTYPES[out_dtype])(
        a.data_ptr(), b.data_ptr(), scale_a.data_ptr(), scale_b.data_ptr(),
        None if bias is None else bias.data_ptr(), c.data_ptr(),
        m, n, k, a.stride(0), torch.get_num_threads(),
    )  # fmt: skip
    return c
