"""Matrix product on GPUs, by the variants of `aot_kernels/triton/gemm.csv`."""

from dataclasses import dataclass
from functools import lru_cache

import torch

from aot_kernels.gpu.aligned import LONGEST, aligned, aligned_vector, rounded
from aot_kernels.gpu.variants import Kernel, Variant
from aot_kernels.tensors import DTYPES

SPARE = (("BM", 64), ("BN", 64), ("BK", 32), ("GROUP", 8), ("DIES", 1), ("num_warps", 4),
         ("num_stages", 2))  # fmt: skip
GEMM = Kernel(
    "gpu_gemm",
    "aot_kernels.triton.gemm:gemm",
    spare=((("TRANS_B", True), *SPARE), (("TRANS_B", False), *SPARE)),
)
TUNED = Kernel("gpu_gemm_tuned", GEMM.source)
"""The same, by rows of tuned tables."""
SUM = Kernel("gpu_gemm_sum", "aot_kernels.triton.gemm:gemm_sum")

SPLITS = (1, 2, 4, 8, 16)
LARGEST_PARTS = 2**24
"""Elements of all parts together: 64 MiB."""
LOAD = 128
"""Multiply-adds that a processor makes while it reads one element from the second-level cache."""
LAUNCH = 2e7
"""And while a kernel is launched. Both from data sheets; they need not be exact."""


@dataclass(frozen=True)
class Plan:
    """How a product of one shape is computed."""

    tile: Variant
    splits: int = 1
    sum: Variant | None = None
    """What adds up the parts; torch where there is none."""


def gemm(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """`a @ b + bias`, of tensors that were checked: see `aot_kernels.operations.gemm.gemm`."""
    (m, k), n = a.shape, b.shape[1]
    if max(n, k) >= LONGEST:
        raise ValueError(f"gemm: K and N have to be below {LONGEST}; got K = {k}, N = {n}")
    if m == 0 or n == 0 or k == 0:
        c = a.new_zeros((m, n))
        return c if bias is None else c.add_(bias)
    by_columns = b.stride(1) != 1 or b.stride(0) == 1
    plan = plan_for(a.device, DTYPES[a.dtype], by_columns, (m, n, k))
    return multiply(a, b, bias, plan)


@lru_cache(maxsize=4096)
def plan_for(
    device: torch.device, dtype: str, by_columns: bool, shape: tuple[int, int, int]
) -> Plan:
    """The cheapest variant for (M, N, K), of those that take B as it lies if there are any."""
    found = (*GEMM.variants(device, dtype), *TUNED.shipped(device, dtype))
    fit = [v for v in found if v.row["TRANS_B"] == by_columns] or list(found)
    tile, splits = choose(fit, shape, processors_of(device))
    if splits == 1:
        return Plan(tile)
    sums = SUM.shipped(device, dtype)
    return Plan(tile, splits, sums[0] if sums else None)


def choose(
    variants: list[Variant], shape: tuple[int, int, int], processors: int
) -> tuple[Variant, int]:
    """Variant and number of splits that `cost` estimates to be the cheapest."""
    m, n, k = shape
    options = [
        (cost(variant, splits, shape, processors), number, splits)
        for number, variant in enumerate(variants)
        for splits in SPLITS
        if splits == 1
        or (splits * variant.row["BK"] <= k and splits * m * rounded(n) <= LARGEST_PARTS)
    ]
    _, number, splits = min(options)
    return variants[number], splits


def cost(variant: Variant, splits: int, shape: tuple[int, int, int], processors: int) -> float:
    """Time of a product, in multiply-adds of one processor: an estimate.

    Processors take programs in waves; a program multiplies, and reads what it multiplies; parts
    are written, read and added up by one more launch.
    """
    m, n, k = shape
    bm, bn, bk = (int(variant.row[name]) for name in ("BM", "BN", "BK"))
    programs = ceil_div(m, bm) * ceil_div(n, bn) * splits
    depth = ceil_div(ceil_div(k, bk), splits) * bk
    product = ceil_div(programs, processors) * depth * (bm * bn + LOAD * (bm + bn))
    if splits == 1:
        return product
    return product + LAUNCH + 4 * LOAD * splits * m * n / processors


def multiply(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, plan: Plan
) -> torch.Tensor:
    """The product as planned. No dimension is 0."""
    (m, k), n = a.shape, b.shape[1]
    width, depth = rounded(n), rounded(k)
    a, a_row = aligned(a, m, depth)
    if plan.tile.row["TRANS_B"]:
        b, b_row = aligned(b.t(), n, depth)
    else:
        b, b_row = aligned(b, depth, width)
    if bias is not None:
        bias = aligned_vector(bias, n)
    c = a.new_empty((m, width))
    parts = None if plan.splits == 1 else c.new_empty((plan.splits, m, width), dtype=torch.float32)
    tiles = ceil_div(m, plan.tile.row["BM"]) * ceil_div(n, plan.tile.row["BN"])
    # What is not read or written is passed as a pointer of the type that was compiled.
    plan.tile.launch(GEMM.function, a.device, (tiles, plan.splits), {
        "a": a, "b": b, "c": c, "bias": c if bias is None else bias,
        "parts": c.view(torch.float32) if parts is None else parts,
        "M": m, "N": n, "K": depth, "a_row": a_row, "b_row": b_row, "c_row": width,
        "splits": plan.splits, "with_bias": int(bias is not None),
    })  # fmt: skip
    if parts is not None:
        add_up(parts, c, bias, n, plan.sum)
    return c if width == n else c[:, :n].contiguous()


def add_up(
    parts: torch.Tensor,
    c: torch.Tensor,
    bias: torch.Tensor | None,
    n: int,
    variant: Variant | None,
) -> None:
    """C, as wide as its parts, becomes their sum, plus the bias."""
    if variant is None:
        sums = parts.sum(0)
        if bias is not None:
            sums[:, :n] += bias
        c.copy_(sums)
        return
    variant.launch(SUM.function, c.device, (ceil_div(c.numel(), variant.row["BLOCK"]), 1), {
        "parts": parts, "c": c, "bias": c if bias is None else bias, "size": c.numel(), "N": n,
        "c_row": c.shape[1], "splits": len(parts), "with_bias": int(bias is not None),
    })  # fmt: skip


def processors_of(device: torch.device) -> int:
    """Multiprocessors or compute units."""
    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def ceil_div(size: int, step: int) -> int:
    """How many steps cover a size."""
    return -(-size // step)
