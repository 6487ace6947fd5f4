"""Products of 8-bit matrices on GPUs, by the variants of `aot_kernels/triton/gemm_a8w8.csv`."""

from functools import lru_cache

import torch

from aot_kernels.gpu.aligned import LONGEST, aligned, aligned_tensor, aligned_vector
from aot_kernels.gpu.gemm import SUM, Plan, add_up, ceil_div, choose, processors_of
from aot_kernels.gpu.variants import Kernel
from aot_kernels.tensors import DTYPES

BYTES = {torch.int8: "i8", torch.float8_e4m3fn: "fp8e4nv", torch.float8_e4m3fnuz: "fp8e4b8"}
"""The dtypes that there are kernels for, and how rows, and Triton, call them."""
GEMM_A8W8 = Kernel(
    "gpu_gemm_a8w8",
    "aot_kernels.triton.gemm_a8w8:gemm_a8w8",
    spare=((("BM", 64), ("BN", 64), ("BK", 64), ("GROUP", 8), ("DIES", 1), ("num_warps", 4),
            ("num_stages", 2)),),
)  # fmt: skip


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
    if max(n, k) >= LONGEST:
        raise ValueError(f"gemm_a8w8: K and N have to be below {LONGEST}; got K = {k}, N = {n}")
    if m == 0 or n == 0 or k == 0:
        c = a.new_zeros((m, n), dtype=out_dtype)
        return c if bias is None else c.add_(bias)
    plan = plan_for(a.device, BYTES[a.dtype], DTYPES[out_dtype], (m, n, k))
    return multiply(a, b, scale_a, scale_b, bias, out_dtype, plan)


@lru_cache(maxsize=4096)
def plan_for(device: torch.device, dtype: str, out: str, shape: tuple[int, int, int]) -> Plan:
    """The cheapest variant for (M, N, K)."""
    found = GEMM_A8W8.variants(device, dtype, out=out)
    tile, splits = choose(list(found), shape, processors_of(device))
    if splits == 1:
        return Plan(tile)
    sums = SUM.shipped(device, out)
    return Plan(tile, splits, sums[0] if sums else None)


def multiply(
    a: torch.Tensor,
    b: torch.Tensor,
    scale_a: torch.Tensor,
    scale_b: torch.Tensor,
    bias: torch.Tensor | None,
    out_dtype: torch.dtype,
    plan: Plan,
) -> torch.Tensor:
    """The product as planned. No dimension is 0."""
    (m, k), n = a.shape, b.shape[0]
    a, a_row = aligned(a, m, k)
    b = aligned_tensor(b)
    if bias is not None:
        bias = aligned_vector(bias, n)
    c = a.new_empty((m, n), dtype=out_dtype)
    parts = None if plan.splits == 1 else c.new_empty((plan.splits, m, n), dtype=torch.float32)
    tiles = ceil_div(m, plan.tile.row["BM"]) * ceil_div(n, plan.tile.row["BN"])
    # What is not read or written is passed as a pointer of the type that was compiled.
    plan.tile.launch(GEMM_A8W8.function, a.device, (tiles, plan.splits), {
        "a": a, "b": b, "c": c, "scale_a": aligned_vector(scale_a, m),
        "scale_b": aligned_vector(scale_b, n), "bias": c if bias is None else bias,
        "parts": c.view(torch.float32) if parts is None else parts,
        "M": m, "N": n, "K": k, "a_row": a_row, "splits": plan.splits,
        "with_bias": int(bias is not None),
    })  # fmt: skip
    if parts is not None:
        add_up(parts, c, bias, n, plan.sum)
    return c
