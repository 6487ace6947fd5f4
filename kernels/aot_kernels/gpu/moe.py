"""A mixture of experts on GPUs, by the variants of `aot_kernels/triton/moe_*.csv`."""

import torch

from aot_kernels.gated import Gated
from aot_kernels.gpu.aligned import aligned_tensor, rounded
from aot_kernels.gpu.experts import choose, multiply
from aot_kernels.gpu.variants import Kernel, Variant
from aot_kernels.routing import Sorted, sort_by_expert
from aot_kernels.tensors import DTYPES

SOURCE = "aot_kernels.triton.moe:expert_gemm"
TILE = (("GATHER", True), ("BM", 32), ("BN", 64), ("BK", 32), ("num_warps", 4), ("num_stages", 2))
UP = Kernel("gpu_moe_up", SOURCE, spare=((("GATED", True), *TILE),))
DOWN = Kernel("gpu_moe_down", SOURCE, spare=((("GATED", False), *TILE),))
SUM = Kernel(
    "gpu_moe_sum",
    "aot_kernels.triton.moe:moe_sum",
    spare=((("BLOCK", 1024), ("num_warps", 4)),),
)


def moe(
    x: torch.Tensor,
    w_up: torch.Tensor,
    w_down: torch.Tensor,
    topk_weights: torch.Tensor,
    topk_ids: torch.Tensor,
    gated: Gated,
) -> torch.Tensor:
    """Both stages, of tensors that were checked: see `aot_kernels.operations.moe.moe`."""
    if 0 in (x.numel(), topk_ids.numel(), w_down.numel()):
        return x.new_zeros(x.shape)
    up, down = tiles(x.device, DTYPES[x.dtype], -(-topk_ids.numel() // len(w_up)))
    # Within 32 bits, whatever was given.
    topk_ids = aligned_tensor(topk_ids.clamp(-1, len(w_up)).int())
    order = sort_by_expert(topk_ids, len(w_up), up.row["BM"])
    h = moe_up(x, w_up, topk_ids.shape[1], order, gated, up)
    return moe_down(h, w_down, topk_weights, topk_ids, order, down)


def tiles(device: torch.device, dtype: str, rows: int) -> tuple[Variant, Variant]:
    """A variant of either stage, with as many rows a block: enough for `rows` if there are."""
    ups, downs = UP.variants(device, dtype), DOWN.variants(device, dtype)
    both = {v.row["BM"] for v in ups} & {v.row["BM"] for v in downs}
    up = choose([v for v in ups if v.row["BM"] in both], rows)
    return up, next(v for v in downs if v.row["BM"] == up.row["BM"])


def moe_up(
    x: torch.Tensor, w_up: torch.Tensor, topk: int, order: Sorted, gated: Gated, variant: Variant
) -> torch.Tensor:
    """The first stage: (tokens * topk, I), padded with zeros."""
    slots, inter = len(x) * topk, w_up.shape[1] // 2
    h = x.new_empty((slots, rounded(inter)))
    rows = {**order._asdict(), "weight": None, "slots": slots, "share": topk}
    multiply(UP, variant, x, w_up, h, rows, gated)
    return h


def moe_down(
    h: torch.Tensor,
    w_down: torch.Tensor,
    topk_weights: torch.Tensor,
    topk_ids: torch.Tensor,
    order: Sorted,
    variant: Variant,
) -> torch.Tensor:
    """The second stage: (tokens, D) of what the first gave."""
    dim, width = w_down.shape[1], rounded(w_down.shape[1])
    parts = h.new_empty((len(h), width), dtype=torch.float32)
    weight = aligned_tensor(topk_weights.float())
    rows = {**order._asdict(), "weight": weight, "slots": len(h), "share": 1}
    multiply(DOWN, variant, h, w_down, parts, rows)
    c = h.new_empty((len(topk_ids), width))
    add = SUM.variants(h.device, DTYPES[h.dtype])[0]
    add.launch(SUM.function, h.device, (len(c), -(-width // add.row["BLOCK"])), {
        "parts": parts, "chosen": topk_ids, "c": c, "topk": topk_ids.shape[1],
        "experts": len(w_down), "width": width,
    })  # fmt: skip
    return c if width == dim else c[:, :dim].contiguous()
