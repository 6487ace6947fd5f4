"""A mixture of experts in float64."""

import torch

from aot_kernels.gated import gated


def activated(gate: torch.Tensor, up: torch.Tensor, activation: str) -> torch.Tensor:
    """The two halves of a projection, joined: see `aot_kernels.gated`."""
    alpha, limit, shift = gated(activation)
    gate, up = gate.double().clamp(max=limit), up.double().clamp(-limit, limit)
    return gate * torch.sigmoid(alpha * gate) * (up + shift)


def moe_up(
    x: torch.Tensor, w_up: torch.Tensor, topk_ids: torch.Tensor, activation: str = "silu"
) -> torch.Tensor:
    """The first stage: (tokens * topk, I) of x (tokens, D) and w_up (experts, 2 I, D).

    The first I rows of an expert's weights are the gate's. Rows of no expert are zero.
    """
    tokens, topk = topk_ids.shape
    inter = w_up.shape[1] // 2
    h = x.new_zeros((tokens * topk, inter), dtype=torch.float64)
    for expert, slots in _slots(topk_ids, len(w_up)):
        both = x[slots // topk].double() @ w_up[expert].double().t()
        h[slots] = activated(both[:, :inter], both[:, inter:], activation)
    return h


def moe_down(
    h: torch.Tensor, w_down: torch.Tensor, topk_weights: torch.Tensor, topk_ids: torch.Tensor
) -> torch.Tensor:
    """The second stage: (tokens, D) of h (tokens * topk, I) and w_down (experts, D, I).

    The sum over a token's choices, each times its weight.
    """
    parts = h.new_zeros((len(h), w_down.shape[1]), dtype=torch.float64)
    for expert, slots in _slots(topk_ids, len(w_down)):
        parts[slots] = h[slots].double() @ w_down[expert].double().t()
    weighted = parts * topk_weights.reshape(-1, 1).double()
    return weighted.view(*topk_ids.shape, w_down.shape[1]).sum(1)


def moe(
    x: torch.Tensor,
    w_up: torch.Tensor,
    w_down: torch.Tensor,
    topk_weights: torch.Tensor,
    topk_ids: torch.Tensor,
    activation: str = "silu",
) -> torch.Tensor:
    """Both stages, with no rounding between: (tokens, D)."""
    h = moe_up(x, w_up, topk_ids, activation)
    return moe_down(h, w_down, topk_weights, topk_ids)


def _slots(topk_ids: torch.Tensor, experts: int) -> list[tuple[int, torch.Tensor]]:
    """Each expert, and the choices that name it."""
    chosen = topk_ids.reshape(-1)
    return [(expert, (chosen == expert).nonzero()[:, 0]) for expert in range(experts)]
