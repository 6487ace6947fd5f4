"""Rows of tokens, put in the order of the experts that they go to."""

from typing import NamedTuple

import torch


class Sorted(NamedTuple):
    """Slots in blocks of one expert each. A slot is `token * topk + k`, a choice of a token."""

    ids: torch.Tensor
    """(capacity,) int32: slots by expert, in ascending order within one; what fills a block up,
    and all behind the last, is tokens * topk: no slot."""
    experts: torch.Tensor
    """(capacity / block,) int32: the expert of each block; of those behind the last, any."""
    valid: torch.Tensor
    """(1,) int32: rows up to the end of the last block that has an expert, a multiple of block."""


def sort_by_expert(topk_ids: torch.Tensor, experts: int, block: int) -> Sorted:
    """Slots of (tokens, topk) expert numbers, sorted into blocks of `block` rows.

    A number outside [0, experts) is of no expert here: its slot is left out. Nothing waits for
    the device: the capacity, a multiple of the block, is what any numbers would fit into.
    """
    slots, device = topk_ids.numel(), topk_ids.device
    chosen = topk_ids.reshape(-1).long()
    chosen = torch.where((chosen >= 0) & (chosen < experts), chosen, experts)
    by_expert, order = torch.sort(chosen, stable=True)
    bounds = torch.searchsorted(by_expert, torch.arange(experts + 1, device=device))
    padded = (bounds.diff() + block - 1) // block * block
    ends = padded.cumsum(0)
    capacity = (slots + min(slots, experts) * (block - 1)) // block * block
    # Those of no expert all go behind the end, where they are cut off.
    places = torch.cat([ends - padded - bounds[:-1], ends.new_zeros(1)])[by_expert]
    places += torch.arange(slots, device=device)
    places.masked_fill_(by_expert == experts, capacity)
    ids = torch.full((capacity + 1,), slots, dtype=torch.int32, device=device)
    ids[places] = order.int()
    starts = torch.arange(0, capacity, block, device=device)
    of_block = torch.searchsorted(ends, starts, right=True).clamp_(max=experts - 1)
    return Sorted(ids[:capacity], of_block.int(), ends[-1:].int())
