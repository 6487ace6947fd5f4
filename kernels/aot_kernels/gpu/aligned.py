"""Matrices as the kernels read them."""

import torch

ALIGNMENT = 16
"""Bytes that a pointer, and elements that a stride or a width, are a multiple of.

Compiled in: without it, kernels would load one element at a time.
"""
LONGEST = 2**23
"""Rows of a tile times a stride below this fit 32 bits."""


def rounded(size: int) -> int:
    """The size with its padding."""
    return (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def aligned(matrix: torch.Tensor, rows: int, cols: int) -> tuple[torch.Tensor, int]:
    """A matrix of at most (rows, cols) as one of that shape, and the stride of its rows.

    Copied, and padded with zeros, unless it has that shape, its columns lie side by side, and it
    is aligned. A single row has a stride of 0.
    """
    matrix = matrix.resolve_neg()
    stride = matrix.stride(0) if rows > 1 else 0
    fits = tuple(matrix.shape) == (rows, cols) and (cols == 1 or matrix.stride(1) == 1)
    apart = stride % ALIGNMENT == 0 and stride < LONGEST
    if fits and apart and matrix.data_ptr() % ALIGNMENT == 0:
        return matrix, stride
    padded = matrix.new_empty((rows, rounded(cols)))
    if padded.shape != matrix.shape:
        padded.zero_()
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    return padded, padded.stride(0) if rows > 1 else 0


def aligned_vector(vector: torch.Tensor, size: int) -> torch.Tensor:
    """A vector of at most `size` elements as one of that size, copied as a matrix is."""
    return aligned(vector[None], 1, size)[0][0]


def aligned_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor as a contiguous and aligned one, copied unless it is."""
    found = tensor.resolve_neg().contiguous()
    return found.clone() if found.data_ptr() % ALIGNMENT else found
