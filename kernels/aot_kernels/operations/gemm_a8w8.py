"""What is promised of products of 8-bit matrices, on whatever device the tensors are.

Where nothing is shipped for a device, what `operations/gemm.py` says holds here too.
"""

import torch

from aot_kernels.shuffled import BLOCK_ROWS, MULTIPLE
from aot_kernels.shuffled import shuffle_weight as shuffle_weight
from aot_kernels.tensors import check_dtype, check_places

BYTES = (torch.int8, torch.float8_e4m3fn, torch.float8_e4m3fnuz)
"""Dtypes of A and B. A GPU multiplies e4m3fnuz (gfx942) or e4m3fn (others; not sm_80), or int8."""
RESULTS = (torch.bfloat16, torch.float16)
"""Dtypes of the result."""
DEEPEST = 2**17
"""K of int8 is below: a product of two is at most 2 ** 14, and int32 ends before 2 ** 31."""


def gemm_a8w8(
    a: torch.Tensor,
    b: torch.Tensor,
    scale_a: torch.Tensor,
    scale_b: torch.Tensor,
    bias: torch.Tensor | None = None,
    out_dtype: torch.dtype = torch.bfloat16,
) -> torch.Tensor:
    """`(a * scale_a) @ (b * scale_b)^T + bias`: (M, K) by (N, K) to (M, N).

    `a` and `b` are of one 8-bit dtype, `b` as `shuffle_weight` lays it out: 16 divides N, 32
    divides K. `scale_a` of (M,), one for each token, and `scale_b` of (N,), one for each channel,
    are fp32; `bias` of (N,) has the dtype of the result, bf16 or fp16. int8 is summed exactly, in
    int32, for which K is below 2 ** 17; fp8 in fp32 (on sm_90a and sm_100a as exactly as their
    tensor cores add the products of one step of K); then it is scaled, and rounded once. K = 0
    gives the bias, or zeros. Repeatable, as `gemm` is.

    On a GPU, operands are copied where their pointers are not aligned to 16 bytes, or the rows of
    `a` are not contiguous and a multiple of 16 apart. N and K are below 2 ** 23 there.

    Raises TypeError for dtypes and devices, ValueError for shapes, `_aot.KernelNotFound` where the
    package was built without a variant.
    """
    given = {"a": a, "b": b, "scale_a": scale_a, "scale_b": scale_b}
    given |= {} if bias is None else {"bias": bias}
    check_places("gemm_a8w8", **given)
    _check_dtypes(given, out_dtype)
    _check_shapes(given)
    if a.is_cuda:
        from aot_kernels.gpu.gemm_a8w8 import gemm_a8w8 as on_gpu

        return on_gpu(a, b, scale_a, scale_b, bias, out_dtype)
    from aot_kernels.cpu.gemm_a8w8 import gemm_a8w8 as on_cpu

    return on_cpu(a, b, scale_a, scale_b, bias, out_dtype)


def _check_dtypes(given: dict[str, torch.Tensor], out_dtype: torch.dtype) -> None:
    check_dtype("gemm_a8w8", "a", given["a"].dtype, BYTES)
    check_dtype("gemm_a8w8", "b", given["b"].dtype, (given["a"].dtype,))
    check_dtype("gemm_a8w8", "out_dtype", out_dtype, RESULTS)
    check_dtype("gemm_a8w8", "scale_a", given["scale_a"].dtype, (torch.float32,))
    check_dtype("gemm_a8w8", "scale_b", given["scale_b"].dtype, (torch.float32,))
    if "bias" in given:
        check_dtype("gemm_a8w8", "bias", given["bias"].dtype, (out_dtype,))


def _check_shapes(given: dict[str, torch.Tensor]) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in given.items()}
    a, b = shapes["a"], shapes["b"]
    fits = len(a) == 2 == len(b) and a[1] == b[1]
    if not fits or any(
        shapes.get(name, size) != size
        for name, size in (("scale_a", a[:1]), ("scale_b", b[:1]), ("bias", b[:1]))
    ):
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            "gemm_a8w8: expected a (M, K), b (N, K), scale_a (M,), scale_b (N,) and bias (N,);"
            f" got {listed}"
        )
    if b[0] % BLOCK_ROWS or b[1] % MULTIPLE:
        raise ValueError(
            f"gemm_a8w8: N has to be a multiple of {BLOCK_ROWS}, K of {MULTIPLE};"
            f" got N = {b[0]}, K = {b[1]}"
        )
    if given["a"].dtype is torch.int8 and b[1] >= DEEPEST:
        raise ValueError(f"gemm_a8w8: K of int8 has to be below {DEEPEST}; got {b[1]}")
