"""Matrix products in float64."""

import torch

from aot_kernels.shuffled import unshuffle_weight


def gemm(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`a @ b + bias` in float64: see `aot_kernels.gemm`."""
    product = a.double() @ b.double()
    return product if bias is None else product + bias.double()


def gemm_a8w8(
    a: torch.Tensor,
    b: torch.Tensor,
    scale_a: torch.Tensor,
    scale_b: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """`(a * scale_a) @ (b * scale_b)^T + bias` in float64, of shuffled weights `b`.

    See `aot_kernels.gemm_a8w8`.
    """
    left = a.double() * scale_a.double()[:, None]
    right = unshuffle_weight(b).double() * scale_b.double()[:, None]
    return gemm(left, right.t(), bias)
