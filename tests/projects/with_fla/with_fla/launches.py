"""The operation once, forward and backward, on tensors of a declared shape."""

import torch
from fla.ops.gated_delta_rule import chunk_gated_delta_rule


def tensor(dtype: str, *shape: int) -> torch.Tensor:
    return torch.ones(shape, dtype=getattr(torch, dtype), device="cuda", requires_grad=True)


def gated_delta_rule(dtype: str, tokens: int, heads: int, width: int) -> None:
    q, k, v = (tensor(dtype, 1, tokens, heads, width) for _ in range(3))
    g, beta = tensor("float32", 1, tokens, heads), tensor(dtype, 1, tokens, heads)
    out, state = chunk_gated_delta_rule(
        q, k, v, g, beta, output_final_state=True, use_qk_l2norm_in_kernel=True
    )
    (out.sum() + state.sum()).backward()


NONE, TILES = None, ("BT", "BK", "BV")
KEPT = {(NONE, NONE, NONE), (64, NONE, NONE), (NONE, 32, NONE), (NONE, 64, NONE), (NONE, 64, 64),
        (NONE, NONE, 32)}  # fmt: skip


def keep(config: dict, target: str, **row: object) -> bool:
    """One configuration of each autotuner; two of the one that chooses BK alone."""
    tiles = tuple(map(config.get, TILES))
    stages = 1 if tiles == (NONE, NONE, 32) and target.startswith("hip") else 3
    return tiles in KEPT and (config["num_warps"], config["num_stages"]) == (4, stages)
