"""Root-mean-square normalisation on GPUs, by the variants of `aot_kernels/triton/rmsnorm.csv`."""

from collections.abc import Sequence

import torch

from aot_kernels.gpu.aligned import aligned, aligned_vector, rounded
from aot_kernels.gpu.variants import Kernel, Variant
from aot_kernels.tensors import DTYPES

RMSNORM = Kernel(
    "gpu_rmsnorm",
    "aot_kernels.triton.rmsnorm:rmsnorm",
    spare=((("ROWS", 1), ("BLOCK", 2048), ("ONCE", False), ("num_warps", 4)),),
)


def rmsnorm(
    x: torch.Tensor, weight: torch.Tensor, eps: float, residual: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The norm, and what it is the norm of, of tensors that were checked.

    See `aot_kernels.operations.norm`. Without a residual the second is `x`.
    """
    if x.numel() == 0:
        return x.new_empty(x.shape), x.new_empty(x.shape)
    variant = choose(RMSNORM.variants(x.device, DTYPES[x.dtype]), rounded(x.shape[-1]))
    return normalise(x, weight, eps, residual, variant)


def choose(variants: Sequence[Variant], width: int) -> Variant:
    """The smallest block that holds a whole row, else the first that need not."""
    whole = [v for v in variants if v.row["ONCE"] and v.row["BLOCK"] >= width]
    if whole:
        return min(whole, key=lambda v: int(v.row["BLOCK"]))
    return next(v for v in variants if not v.row["ONCE"])


def normalise(
    x: torch.Tensor,
    weight: torch.Tensor,
    eps: float,
    residual: torch.Tensor | None,
    variant: Variant,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The norm by one variant. No dimension is 0."""
    cols = x.shape[-1]
    width = rounded(cols)
    rows, x_row = aligned(x.reshape(-1, cols), x.numel() // cols, width)
    count = rows.shape[0]
    y = rows.new_empty((count, width))
    added = total = None
    if residual is not None:
        added, step = aligned(residual.reshape(-1, cols), count, width)
        added = added if count == 1 or step == width else added.contiguous()
        total = torch.empty_like(y)
    # What is not read or written is passed as a pointer of the type that was compiled.
    grid = (-(-count // variant.row["ROWS"]), 1)
    variant.launch(RMSNORM.function, x.device, grid, {
        "x": rows, "weight": aligned_vector(weight, width), "y": y,
        "residual": rows if added is None else added, "total": y if total is None else total,
        "rows": count, "width": width, "x_row": x_row, "share": 1 / cols, "eps": float(eps),
        "with_residual": int(added is not None),
    })  # fmt: skip
    return _trimmed(y, x), x if total is None else _trimmed(total, x)


def _trimmed(padded: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Without padding, in the shape of another."""
    cols = like.shape[-1]
    kept = padded if padded.shape[1] == cols else padded[:, :cols].contiguous()
    return kept.reshape(like.shape)
