"""Root-mean-square normalisation, of a sum with a residual where there is one.

`rmsnorm.csv` lists tiles: for short rows, such as the heads of an attention, and for any. The
function assumes what `aot_kernels.gpu.rmsnorm` makes true: 16-byte aligned pointers, and strides
and padded row lengths that are multiples of 16.
"""

# mypy: ignore-errors
# Triton's language, in Python's syntax.

import triton
import triton.language as tl


@triton.jit
def _sum(x, residual, mask, more):
    """x + residual, rounded as it is stored, in fp32."""
    value = tl.load(x, mask=mask, other=0.0).to(tl.float32)
    added = tl.load(residual, mask=more, other=0.0).to(tl.float32)
    return (value + added).to(x.dtype.element_ty).to(tl.float32)


@triton.jit
def _scaled(v, scale, weight, mask):
    """Values times their row's scale and their column's weight."""
    w = tl.load(weight, mask=mask, other=0.0).to(tl.float32)
    return v * scale[:, None] * w[None, :]


@triton.jit(do_not_specialize=["rows", "with_residual"])
def rmsnorm(
    x, weight, y, residual, total, rows, width, x_row, share, eps, with_residual,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, ONCE: tl.constexpr,
):  # fmt: skip
    """y = v * rsqrt(share * sum(v ** 2) + eps) * weight, row by row, with v = x + residual.

    The rows of x lie `x_row` elements apart; those of y, `residual` and `total`, which receives v
    where `with_residual` is 1 and not 0, lie `width` apart. `share` is 1 / (elements that count):
    what pads a row is zero. A program takes ROWS rows. With ONCE it holds them, and they fit
    BLOCK; else it reads them twice, the second time from a cache. Grid: rows / ROWS.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    col = tl.arange(0, BLOCK)
    there = (row < rows)[:, None]
    # Predicated rather than specialised: one binary serves with a residual and without.
    more = (row < rows * with_residual)[:, None]
    at = row.to(tl.int64)[:, None] * width + col[None, :]
    x += row.to(tl.int64)[:, None] * x_row + col[None, :]
    if ONCE:
        inside = (col < width)[None, :]
        v = _sum(x, residual + at, there & inside, more & inside)
        tl.store(total + at, v.to(total.dtype.element_ty), mask=more & inside)
        scale = tl.rsqrt(tl.sum(v * v, axis=1) * share + eps)
        found = _scaled(v, scale, weight + col, col < width)
        tl.store(y + at, found.to(y.dtype.element_ty), mask=there & inside)
    else:
        squares = tl.zeros((ROWS, BLOCK), dtype=tl.float32)
        for start in range(0, width, BLOCK):
            inside = (col < width - start)[None, :]
            v = _sum(x + start, residual + at + start, there & inside, more & inside)
            tl.store(total + at + start, v.to(total.dtype.element_ty), mask=more & inside)
            squares += v * v
        scale = tl.rsqrt(tl.sum(squares, axis=1) * share + eps)
        for start in range(0, width, BLOCK):
            inside = (col < width - start)[None, :]
            v = _sum(x + start, residual + at + start, there & inside, more & inside)
            found = _scaled(v, scale, weight + start + col, col < width - start)
            tl.store(y + at + start, found.to(y.dtype.element_ty), mask=there & inside)
