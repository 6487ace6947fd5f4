"""What products with the weights of experts share on GPUs: operands and launches."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from aot_kernels.gated import NOTHING, Gated
from aot_kernels.gpu.aligned import ALIGNMENT, LONGEST, aligned, aligned_tensor, rounded
from aot_kernels.gpu.variants import Kernel, Variant

LARGEST_EXPERT = 2**31
"""Elements of one expert's weights, as its stride is an argument of 32 bits."""


def choose(variants: Sequence[Variant], rows: int) -> Variant:
    """The smallest tile that holds `rows`, or the largest there is; of equals the first."""
    by_size = sorted(variants, key=lambda v: int(v.row["BM"]))
    return next((v for v in by_size if v.row["BM"] >= rows), by_size[-1])


def multiply(
    kernel: Kernel,
    variant: Variant,
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    rows: Mapping[str, Any],
    gated: Gated | None = None,
    scales: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> None:
    """C = A (rows, K) by B (experts, N, K), or (experts, 2 N, K) to join; C has N columns, padded.

    With scales both are bytes of block-scaled numbers. `rows` are the arguments that say which
    rows: see `aot_kernels.triton.moe`. Nothing is empty.
    """
    depth = rounded(a.shape[1])
    b, b_expert, b_row = aligned_stack(b, depth)
    a, a_row = aligned(a, len(a), depth)
    halves = 2 if gated else 1
    columns = b.shape[1] // halves
    alpha, limit, shift = gated or NOTHING
    arguments: dict[str, Any] = {
        "a": a, "b": b, "c": c, **rows, "N": columns, "a_row": a_row, "b_expert": b_expert,
        "b_row": b_row, "c_row": c.shape[1], "alpha": alpha, "limit": limit, "shift": shift,
    }  # fmt: skip
    if scales is None:
        arguments["K"] = depth
    else:
        by_a, by_b = (aligned_tensor(scale) for scale in scales)
        arguments |= {"a_scale": by_a, "b_scale": by_b, "blocks": by_a.shape[-1]}
    blocks = len(rows["experts"]) if variant.row["GATHER"] else len(b) * (
        -(-rows["slots"] // variant.row["BM"])
    )  # fmt: skip
    grid = (blocks, -(-columns // variant.row["BN"]))
    variant.launch(kernel.function, c.device, grid, arguments)


def aligned_stack(stack: torch.Tensor, depth: int) -> tuple[torch.Tensor, int, int]:
    """Matrices (experts, rows, cols) as ones with `depth` columns, and their first two strides.

    Copied, and padded with zeros, as `aligned` does with one.
    """
    stack = stack.resolve_neg()
    outer, inner, last = stack.stride()
    apart = outer % ALIGNMENT == 0 == inner % ALIGNMENT and inner < LONGEST
    together = stack.shape[2] == depth and (last == 1 or depth == 1)
    if not (apart and together and stack.data_ptr() % ALIGNMENT == 0):
        padded = stack.new_zeros((*stack.shape[:2], depth))
        padded[..., : stack.shape[2]] = stack
        stack, (outer, inner, _) = padded, padded.stride()
    if outer >= LARGEST_EXPERT:
        raise ValueError(f"the weights of an expert have to be below {LARGEST_EXPERT} elements")
    return stack, outer, inner
