"""Grouped products in float64. Block-scaled operands are decoded first: `aot_kernels.mx`."""

import torch

from aot_kernels.reference.moe import activated


def grouped_gemm(a: torch.Tensor, b: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """(E, M, N) of a (E, M, K) and b (E, N, K); zero beyond the `counts` (E,) of each expert."""
    c = a.double() @ b.double().transpose(1, 2)
    kept = torch.arange(a.shape[1], device=a.device) < counts[:, None]
    return torch.where(kept[..., None], c, 0.0)


def grouped_moe(
    x: torch.Tensor,
    w_up: torch.Tensor,
    w_down: torch.Tensor,
    counts: torch.Tensor,
    activation: str = "silu",
) -> torch.Tensor:
    """(E, M, D) of x (E, M, D), w_up (E, 2 I, D), the gate's half first, and w_down (E, D, I)."""
    both = grouped_gemm(x, w_up, counts)
    inter = w_up.shape[1] // 2
    return grouped_gemm(activated(both[..., :inter], both[..., inter:], activation), w_down, counts)
