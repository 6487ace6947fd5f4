"""Weights in the orders in which a GPU's matrix instructions read them."""

import torch

BLOCK_ROWS = 16
"""Rows of a block of shuffled weights."""
BLOCK_BYTES = 16
"""Bytes of each of its rows: what one lane of a GPU loads at once."""
MULTIPLE = 2 * BLOCK_BYTES
"""What K is a multiple of: a matrix instruction takes two blocks."""


def shuffle_weight(weight: torch.Tensor) -> torch.Tensor:
    """8-bit weights (..., N, K) as `aot_kernels.gemm_a8w8` takes them: `shuffled`.

    A contiguous copy of the same shape. Raises TypeError unless an element is a byte, ValueError
    unless 16 divides N and 32 divides K.
    """
    if weight.element_size() != 1:
        raise TypeError(f"shuffle_weight: elements of 8 bits are expected; got {weight.dtype}")
    shape = tuple(weight.shape)
    if weight.dim() < 2 or shape[-2] % BLOCK_ROWS or shape[-1] % MULTIPLE:
        raise ValueError(
            f"shuffle_weight: expected (..., N, K), N a multiple of {BLOCK_ROWS}, K of {MULTIPLE};"
            f" got {shape}"
        )
    return shuffled(weight)


def shuffled(weight: torch.Tensor) -> torch.Tensor:
    """Weights (..., N, K) of any type; 16 divides N and the bytes of a row.

    The layout (16, 16) of ROCm's `a8w8_bpreshuffle` kernels (`shuffle_weight` of ROCm/aiter's
    `aiter/ops/shuffle.py`): blocks of 16 rows by 16 bytes, each contiguous, row after row; the
    blocks of 16 rows lie along K, then come those of the next 16 rows. The 64 lanes of a wave,
    of which each wants 16 bytes of one row, so read 1 KiB in one run.
    """
    rows = weight.contiguous().view(torch.uint8)
    *outer, n, size = rows.shape
    blocks = rows.view(*outer, n // BLOCK_ROWS, BLOCK_ROWS, size // BLOCK_BYTES, BLOCK_BYTES)
    return blocks.transpose(-3, -2).contiguous().view(rows.shape).view(weight.dtype)


def unshuffle_weight(weight: torch.Tensor) -> torch.Tensor:
    """What `shuffle_weight` gave, as rows again."""
    *outer, n, k = weight.shape
    blocks = weight.reshape(*outer, n // BLOCK_ROWS, k // BLOCK_BYTES, BLOCK_ROWS, BLOCK_BYTES)
    return blocks.transpose(-3, -2).contiguous().view(weight.shape)


def interleaved(weight: torch.Tensor) -> torch.Tensor:
    """Weights or scales (experts, 2 I, ...), the gate's rows first: 16 of each in turn."""
    experts, rows, *rest = weight.shape
    halves = weight.view(experts, 2, rows // 32, 16, *rest)
    return halves.transpose(1, 2).reshape(weight.shape)
