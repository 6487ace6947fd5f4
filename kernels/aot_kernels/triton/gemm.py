"""Matrix product with split-K, and the sum of its parts; `gemm.csv` and `gemm_sum.csv` list rows.

For each architecture there is a large tile, which fills its registers and shared memory, one of
few rows for skinny products, and one for fp32, which NVIDIA's tensor cores round. sm_80 also
serves sm_86 and sm_89, where a program has 99 KiB of shared memory.

Every tile may be split along K, by any number at run time: each program then leaves an fp32 part,
and `gemm_sum` adds the parts up in their order. Atomics would add them in the order of arrival, so
that results would differ from run to run, and need a launch that zeroes their buffer: one launch
more is what both cost.

Both functions assume what `aot_kernels.gpu.gemm` makes true: 16-byte aligned pointers, and sizes
and strides that are multiples of 16 where the signature says so.
"""

# mypy: ignore-errors
# Triton's language, in Python's syntax.

import triton
import triton.language as tl


@triton.jit
def _place(M, N, BM: tl.constexpr, BN: tl.constexpr, GROUP: tl.constexpr, DIES: tl.constexpr):
    """This program's tile, counted down and across.

    Programs that run side by side share GROUP rows of tiles, so that what they read of B stays in
    the second-level cache. Of DIES with a cache each, which take programs in turn, every one gets
    a run of neighbours.
    """
    tiles_m, tiles_n = tl.cdiv(M, BM), tl.cdiv(N, BN)
    number = tl.program_id(0)
    if DIES > 1:
        tiles = tiles_m * tiles_n
        die = number % DIES
        number = die * (tiles // DIES) + tl.minimum(die, tiles % DIES) + number // DIES
    first = number // (GROUP * tiles_n) * GROUP
    rows = tl.minimum(tiles_m - first, GROUP)
    inside = number % (GROUP * tiles_n)
    return first + inside % rows, inside // rows


@triton.jit
def _finish(c, bias, parts, sums, size, splits, with_bias, mask):
    """Store a tile: with the bias into C, or as it is into this split's part of `size`."""
    if splits == 1:
        added = tl.load(bias, mask=with_bias, other=0.0).to(tl.float32)
        tl.store(c, (sums + added[None, :]).to(c.dtype.element_ty), mask=mask)
    else:
        tl.store(parts + tl.program_id(1) * size, sums, mask=mask)


@triton.jit(do_not_specialize=["M", "N", "splits", "with_bias"])
def gemm(
    a, b, c, bias, parts, M, N, K, a_row, b_row, c_row, splits, with_bias,
    TRANS_B: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    GROUP: tl.constexpr, DIES: tl.constexpr,
):  # fmt: skip
    """C[M, N] = A[M, K] @ B[K, N] (+ bias[N]), accumulated in fp32, rounded once.

    `a_row`, `b_row`, `c_row` are strides in elements; the other stride of each matrix is 1. B is
    stored as (N, K) with TRANS_B, else as (K, N). The rows of C, and without TRANS_B those of B,
    have room for N rounded up to 16. Grid: tiles, splits. With more than one split, `parts` of
    (splits, M, c_row) in fp32 is written in place of C, without the bias. `with_bias` is 0 or 1.
    """
    tile_m, tile_n = _place(M, N, BM, BN, GROUP, DIES)
    # Offsets from a tile's corner fit 32 bits; corners may not.
    m, n = tile_m.to(tl.int64) * BM, tile_n.to(tl.int64) * BN
    row, col, depth = tl.arange(0, BM), tl.arange(0, BN), tl.arange(0, BK)
    rows, cols = M - tile_m * BM, N - tile_n * BN
    width = tl.cdiv(N, 16) * 16 - tile_n * BN
    share = tl.cdiv(tl.cdiv(K, BK), splits) * BK
    start = tl.program_id(1) * share
    left = tl.minimum(K - start, share)
    # Rows beyond the last are read from it, and never stored.
    a_at = a + m * a_row + start + tl.minimum(row, rows - 1)[:, None] * a_row + depth[None, :]
    if TRANS_B:
        b_at = b + n * b_row + start + tl.minimum(col, cols - 1)[None, :] * b_row + depth[:, None]
    else:
        b_at = b + start.to(tl.int64) * b_row + n + depth[:, None] * b_row + col[None, :]

    sums = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, left, BK):
        inside = depth < left - k
        a_tile = tl.load(a_at, mask=inside[None, :], other=0.0)
        if TRANS_B:
            b_tile = tl.load(b_at, mask=inside[:, None], other=0.0)
            b_at += BK
        else:
            b_tile = tl.load(b_at, mask=inside[:, None] & (col < width)[None, :], other=0.0)
            b_at += BK * b_row.to(tl.int64)
        sums = tl.dot(a_tile, b_tile, sums, input_precision="ieee")
        a_at += BK

    corner, at = m * c_row + n, row[:, None] * c_row + col[None, :]
    mask = (row < rows)[:, None] & (col < width)[None, :]
    size = M * c_row.to(tl.int64)
    # Predicated rather than specialised: one binary serves with a bias and without.
    added = col < cols * with_bias
    _finish(c + corner + at, bias + n + col, parts + corner + at, sums, size, splits, added, mask)


@triton.jit(do_not_specialize=["N", "splits", "with_bias"])
def gemm_sum(parts, c, bias, size, N, c_row, splits, with_bias, BLOCK: tl.constexpr):
    """C = the sum of `splits` parts (+ bias), in the order of the parts, rounded once.

    Each part, and C, has `size` elements, less than 2 ** 31, in rows of `c_row`, of which N count.
    """
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    sums = tl.zeros((BLOCK,), dtype=tl.float32)
    for _ in range(splits):
        sums += tl.load(parts + at, mask=at < size, other=0.0)
        parts += size
    col = at % c_row
    added = tl.load(bias + col, mask=col < N * with_bias, other=0.0)
    tl.store(c + at, (sums + added.to(tl.float32)).to(c.dtype.element_ty), mask=at < size)
