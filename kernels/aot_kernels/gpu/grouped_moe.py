"""Grouped products on GPUs, by `aot_kernels/triton/grouped_moe.csv` and rows of tuned tables."""

import torch

from aot_kernels.gated import Gated
from aot_kernels.gpu.aligned import aligned_tensor, rounded
from aot_kernels.gpu.experts import choose, multiply
from aot_kernels.gpu.variants import Kernel
from aot_kernels.tensors import DTYPES

TILE = (("GATHER", False), ("BM", 32), ("BN", 64), ("num_warps", 4), ("num_stages", 2))
GROUPED = Kernel(
    "gpu_grouped_moe",
    "aot_kernels.triton.moe:expert_gemm",
    spare=tuple((("GATED", gated), *TILE, ("BK", 32)) for gated in (True, False)),
)
SCALED = Kernel(
    "gpu_grouped_moe_tuned",
    "aot_kernels.triton.moe:expert_gemm_mx",
    spare=tuple(
        (("BITS", bits), ("GATED", gated), *TILE, ("BK", 128))
        for bits in (4, 8)
        for gated in (True, False)
    ),
)
BITS = {"e2m1": 4, "e4m3": 8}


def grouped_gemm(
    a: torch.Tensor, b: torch.Tensor, counts: torch.Tensor, gated: Gated | None = None
) -> torch.Tensor:
    """The products of all experts, joined where `gated`, of tensors that were checked.

    See `aot_kernels.operations.grouped_moe`.
    """
    variants = GROUPED.variants(a.device, DTYPES[a.dtype])
    fit = [v for v in variants if v.row["GATED"] == (gated is not None)]
    c = _result(a, b, gated, a.dtype)
    if 0 in (a.numel(), c.numel()):
        return _trimmed(c.zero_(), a, b, gated)
    flat = a.reshape(-1, a.shape[2])
    multiply(GROUPED, choose(fit, a.shape[1]), flat, b, c, _rows(a, counts), gated)
    return _trimmed(c, a, b, gated)


def grouped_gemm_mx(
    a: torch.Tensor,
    a_scale: torch.Tensor,
    b: torch.Tensor,
    b_scale: torch.Tensor,
    counts: torch.Tensor,
    form: str,
    gated: Gated | None = None,
) -> torch.Tensor:
    """`grouped_gemm` of block-scaled numbers, to bf16; A is of the form named, B is e2m1."""
    fit = [
        v
        for v in SCALED.variants(a.device, "bf16")
        if (v.row["BITS"], v.row["GATED"]) == (BITS[form], gated is not None)
    ]
    c = _result(a, b, gated, torch.bfloat16)
    if 0 in (a.numel(), c.numel()):
        return _trimmed(c.zero_(), a, b, gated)
    flat, weights = a.view(torch.uint8).reshape(-1, a.shape[2]), b.view(torch.uint8)
    scales = (a_scale, b_scale)
    variant = choose(fit, a.shape[1])
    multiply(SCALED, variant, flat, weights, c, _rows(a, counts), gated, scales)
    return _trimmed(c, a, b, gated)


def _rows(a: torch.Tensor, counts: torch.Tensor) -> dict[str, object]:
    counts = aligned_tensor(counts.int())
    return {
        "ids": counts, "experts": counts, "valid": counts, "weight": None, "slots": a.shape[1],
        "share": 1,
    }  # fmt: skip


def _columns(b: torch.Tensor, gated: Gated | None) -> int:
    return b.shape[1] // (2 if gated else 1)


def _result(
    a: torch.Tensor, b: torch.Tensor, gated: Gated | None, dtype: torch.dtype
) -> torch.Tensor:
    return a.new_empty((a.shape[0] * a.shape[1], rounded(_columns(b, gated))), dtype=dtype)


def _trimmed(
    c: torch.Tensor, a: torch.Tensor, b: torch.Tensor, gated: Gated | None
) -> torch.Tensor:
    """Without padding, (experts, rows, columns)."""
    columns = _columns(b, gated)
    kept = c if c.shape[1] == columns else c[:, :columns].contiguous()
    return kept.view(*a.shape[:2], columns)
