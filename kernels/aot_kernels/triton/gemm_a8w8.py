"""Product of 8-bit matrices with scales and shuffled weights; `gemm_a8w8.csv` lists rows.

Tiles, their order and the split of K are those of `gemm.py`, whose `gemm_sum` adds up the parts of
a split. What a GPU multiplies differs: e4m3fnuz on gfx942, e4m3fn on gfx950 and from sm_90 on (a
row's `dtype` says which, in Triton's names), int8 everywhere.

It assumes what `aot_kernels.gpu.gemm_a8w8` makes true: 16-byte aligned pointers, N, K and the
stride of A's rows multiples of 16.
"""

# mypy: ignore-errors
# Triton's language, in Python's syntax.

import triton
import triton.language as tl

from aot_kernels.triton.gemm import _finish, _place


@triton.jit
def _zeros(BM: tl.constexpr, BN: tl.constexpr, element):
    """Where products are summed: integers exactly."""
    if element == tl.int8:
        return tl.zeros((BM, BN), dtype=tl.int32)
    else:
        return tl.zeros((BM, BN), dtype=tl.float32)


@triton.jit(do_not_specialize=["M", "splits", "with_bias"])
def gemm_a8w8(
    a, b, c, scale_a, scale_b, bias, parts, M, N, K, a_row, splits, with_bias,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GROUP: tl.constexpr, DIES: tl.constexpr,
):  # fmt: skip
    """C[M, N] = (A[M, K] * scale_a[M]) @ (B[N, K] * scale_b[N])^T (+ bias[N]), rounded once.

    B is shuffled: blocks of 16 rows by 16 bytes, each contiguous, those of 16 rows one after the
    other along K (`aot_kernels.shuffled`). `a_row` is the stride of A's rows;
    C is contiguous. 32 divides K. Grid: tiles, splits. With more than one split, `parts` of
    (splits, M, N) in fp32 is written in place of C, scaled, without the bias.
    """
    tile_m, tile_n = _place(M, N, BM, BN, GROUP, DIES)
    # Offsets from a tile's corner fit 32 bits; corners may not.
    m, n = tile_m.to(tl.int64) * BM, tile_n.to(tl.int64) * BN
    row, col, depth = tl.arange(0, BM), tl.arange(0, BN), tl.arange(0, BK)
    rows, cols = M - tile_m * BM, N - tile_n * BN
    share = tl.cdiv(tl.cdiv(K, BK), splits) * BK
    start = tl.program_id(1) * share
    left = tl.minimum(K - start, share)
    # Rows beyond the last are read from it, and never stored; so are blocks of rows of B.
    a_at = a + m * a_row + start + tl.minimum(row, rows - 1)[:, None] * a_row + depth[None, :]
    block = tl.minimum(col // 16, cols // 16 - 1)
    b_at = b + n * K + start.to(tl.int64) * 16 + (block * (16 * K) + col % 16 * 16)[None, :]
    b_at += (depth // 16 * 256 + depth % 16)[:, None]

    sums = _zeros(BM, BN, a.dtype.element_ty)
    for k in range(0, left, BK):
        inside = depth < left - k
        a_tile = tl.load(a_at, mask=inside[None, :], other=0.0)
        b_tile = tl.load(b_at, mask=inside[:, None], other=0.0)
        # Hopper's tensor cores add 8-bit floats to 14 bits: sums of many steps are kept in fp32.
        sums = tl.dot(a_tile, b_tile, sums, max_num_imprecise_acc=BK, out_dtype=sums.dtype)
        a_at += BK
        b_at += BK * 16

    inside, within = row < rows, col < cols
    scales = tl.load(scale_b + n + col, mask=within, other=0.0)[None, :]
    scales *= tl.load(scale_a + m + row, mask=inside, other=0.0)[:, None]
    corner, at = m * N + n, row[:, None] * N + col[None, :]
    mask = inside[:, None] & within[None, :]
    added = col < cols * with_bias
    scaled = sums.to(tl.float32) * scales
    size = M * N.to(tl.int64)
    _finish(c + corner + at, bias + n + col, parts + corner + at, scaled, size, splits, added, mask)
