"""Experts on the CPU, by the variants that `moe_up.csv` and `moe_down.csv` list."""

from collections.abc import Callable
from ctypes import c_float, c_int64, c_void_p
from functools import cache

import torch

from aot_kernels.cpu.library import function
from aot_kernels.gated import NOTHING, Gated
from aot_kernels.routing import Sorted, sort_by_expert
from aot_kernels.tensors import DTYPES

TILE = {"BM": 96, "BN": 128, "BK": 256}
"""Its blocks fit the second-level cache. Rows that a block lacks cost nothing."""
PRODUCT = [c_void_p] * 6 + [c_int64] * 11 + [c_float] * 3 + [c_int64]
SUM = [c_void_p] * 3 + [c_int64] * 5


@cache
def _variant(dtype: str, gated: bool, symbol: str = "aot_expert_gemm") -> Callable[..., None]:
    arguments = SUM if symbol == "aot_moe_sum" else PRODUCT
    row = {"DTYPE": dtype, "GATED": gated, **TILE}
    return function("moe_up" if gated else "moe_down", symbol, arguments, row)


def moe(
    x: torch.Tensor,
    w_up: torch.Tensor,
    w_down: torch.Tensor,
    topk_weights: torch.Tensor,
    topk_ids: torch.Tensor,
    gated: Gated,
) -> torch.Tensor:
    """Both stages, of tensors that were checked: see `aot_kernels.operations.moe.moe`."""
    (tokens, topk), experts, dim = topk_ids.shape, len(w_down), w_down.shape[1]
    if 0 in (x.numel(), topk_ids.numel(), w_down.numel()):
        return x.new_zeros(x.shape)
    # Within 32 bits, whatever was given.
    chosen = topk_ids.clamp(-1, experts).int().contiguous()
    order = sort_by_expert(chosen, experts, TILE["BM"])
    h = x.new_empty((tokens * topk, w_up.shape[1] // 2))
    multiply(x, w_up, h, order, topk, gated=gated)
    parts = x.new_empty((tokens * topk, dim), dtype=torch.float32)
    multiply(h, w_down, parts, order, 1, weight=topk_weights.float().contiguous())
    c = x.new_empty((tokens, dim))
    _variant(DTYPES[x.dtype], False, "aot_moe_sum")(
        parts.data_ptr(), chosen.data_ptr(), c.data_ptr(), tokens, topk, dim, experts,
        torch.get_num_threads(),
    )  # fmt: skip
    return c


def grouped_gemm(
    a: torch.Tensor, b: torch.Tensor, counts: torch.Tensor, gated: Gated | None = None
) -> torch.Tensor:
    """The products of all experts, joined where `gated`, of tensors that were checked.

    See `aot_kernels.operations.grouped_moe`.
    """
    experts, room, depth = a.shape
    c = a.new_empty((experts, room, b.shape[1] // (2 if gated else 1)))
    if c.numel() == 0:
        return c
    row = torch.arange(room)
    chosen = torch.where(row < counts[:, None], torch.arange(experts)[:, None], experts)
    order = sort_by_expert(chosen.reshape(-1, 1), experts, TILE["BM"])
    flat = a.resolve_neg().reshape(experts * room, depth)
    multiply(flat, b, c.view(-1, c.shape[2]), order, 1, gated=gated)
    return c


def multiply(
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    order: Sorted,
    share: int,
    gated: Gated | None = None,
    weight: torch.Tensor | None = None,
) -> None:
    """Row `id // share` of A, by its expert's B, into row `id` of C; copies neither A nor B."""
    a, b = a.resolve_neg(), b.resolve_neg()
    blocks = int(order.valid) // TILE["BM"]
    _variant(DTYPES[a.dtype], gated is not None)(
        a.data_ptr(), b.data_ptr(), None if weight is None else weight.data_ptr(), c.data_ptr(),
        order.ids.data_ptr(), order.experts.data_ptr(), blocks, len(c), share, c.shape[1],
        a.shape[1], *a.stride(), *b.stride(), c.stride(0), *(gated or NOTHING),
        torch.get_num_threads(),
    )  # fmt: skip
