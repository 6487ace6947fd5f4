"""Products of rows with the weights of their experts; `moe_*.csv` and `grouped_moe.csv` list rows.

One function serves both layouts and both stages: rows gathered by expert (a mixture of experts) or
lying expert by expert (grouped products), a gated projection or a plain one; another does so for
block-scaled numbers. They assume what `aot_kernels.gpu.experts` makes true: 16-byte aligned
pointers, and sizes and strides that are multiples of 16 where the signatures say so.

The results of a token's choices are stored apart and summed in order, as the parts of a split
product are (`aot_kernels.triton.gemm`), and for the same reasons.
"""

# mypy: ignore-errors
# Triton's language, in Python's syntax.

import triton
import triton.language as tl


@triton.jit
def _place(ids, experts, valid, slots, share, GATHER: tl.constexpr, BM: tl.constexpr):
    """Of this program's block: whether it has rows, its expert, their places in A and C, which."""
    block, row = tl.program_id(0), tl.arange(0, BM)
    if GATHER:
        expert = tl.load(experts + block)
        id = tl.load(ids + block * BM + row)
        # What fills a block up is read from the last row, and never stored.
        source = (tl.minimum(id, slots - 1) // share).to(tl.int64)
        return block * BM < tl.load(valid), expert, source, id.to(tl.int64), id < slots
    else:
        blocks = tl.cdiv(slots, BM)
        expert, first = block // blocks, block % blocks * BM
        left = tl.load(ids + expert) - first
        source = expert.to(tl.int64) * slots + first + tl.minimum(row, left - 1)
        return left > 0, expert, source, source, row < left


@triton.jit
def _finish(
    c, to, kept, weight, sums, more, N, c_row, alpha, limit, shift, GATED: tl.constexpr,
    BN: tl.constexpr,
):  # fmt: skip
    """Join the halves as `aot_kernels.gated` says, or weigh the rows, and store a tile."""
    col = tl.program_id(1) * BN + tl.arange(0, BN)
    if GATED:
        # Comparisons let NaNs pass; minimum and maximum would not.
        sums = tl.where(sums > limit, limit, sums)
        more = tl.where(more > limit, limit, tl.where(more < -limit, -limit, more))
        sums = sums / (1.0 + tl.exp(-alpha * sums)) * (more + shift)
    if weight is not None:
        sums *= tl.load(weight + to, mask=kept, other=0.0)[:, None]
    # The next stage multiplies what pads a row.
    sums = tl.where((col < N)[None, :], sums, 0.0)
    mask = kept[:, None] & (col < tl.cdiv(N, 16) * 16)[None, :]
    at = to[:, None] * c_row + col[None, :]
    tl.store(c + at, sums.to(c.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["slots", "share", "N"])
def expert_gemm(
    a, b, c, ids, experts, valid, weight, slots, share, N, K, a_row, b_expert, b_row, c_row, alpha,
    limit, shift,
    GATED: tl.constexpr, GATHER: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    BK: tl.constexpr,
):  # fmt: skip
    """C[row, N] = A[row, K] @ B[expert of the row, N, K]^T, accumulated in fp32, rounded once.

    With GATHER rows are those of `aot_kernels.routing.sort_by_expert` by BM: row `id // share` of A
    makes row `id` of C, ids below `slots`. Without, `ids` holds the number of rows of each expert,
    which has room for `slots`, one expert after the other; `experts` and `valid` are not read.
    With GATED, B is (experts, 2 N, K), the gate's half first, and the halves are joined. A row is
    multiplied by `weight[id]` where that is given.

    `a_row`, `b_expert`, `b_row`, `c_row` are strides in elements; the last of each tensor is 1. The
    rows of C have room for N rounded up to 16; what pads them is set to 0. Grid: blocks of BM rows,
    without GATHER those that each expert has room for; tiles of BN columns.
    """
    live, expert, source, to, kept = _place(ids, experts, valid, slots, share, GATHER, BM)
    if not live:
        return
    depth = tl.arange(0, BK)
    # Columns beyond the last are read from it.
    col = tl.minimum(tl.program_id(1) * BN + tl.arange(0, BN), N - 1)
    a += source[:, None] * a_row + depth[None, :]
    b += expert.to(tl.int64) * b_expert + col.to(tl.int64)[None, :] * b_row + depth[:, None]
    half = N.to(tl.int64) * b_row
    sums = tl.zeros((BM, BN), dtype=tl.float32)
    more = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, K, BK):
        inside = depth < K - k
        a_tile = tl.load(a, mask=inside[None, :], other=0.0)
        b_tile = tl.load(b, mask=inside[:, None], other=0.0)
        sums = tl.dot(a_tile, b_tile, sums, input_precision="ieee")
        if GATED:
            b_tile = tl.load(b + half, mask=inside[:, None], other=0.0)
            more = tl.dot(a_tile, b_tile, more, input_precision="ieee")
        a += BK
        b += BK
    _finish(c, to, kept, weight, sums, more, N, c_row, alpha, limit, shift, GATED, BN)


@triton.jit(do_not_specialize=["slots", "share", "N", "blocks"])
def expert_gemm_mx(
    a, a_scale, b, b_scale, c, ids, experts, valid, weight, slots, share, N, blocks, a_row,
    b_expert, b_row, c_row, alpha, limit, shift,
    BITS: tl.constexpr, GATED: tl.constexpr, GATHER: tl.constexpr, BM: tl.constexpr,
    BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """`expert_gemm` of block-scaled numbers (`aot_kernels.mx`): A has BITS (4 or 8), B has 4.

    A row has `blocks` of 32 elements. Values are bytes, and `a_row`, `b_expert` and `b_row` count
    them; scales lie with no gap between rows.
    """
    live, expert, source, to, kept = _place(ids, experts, valid, slots, share, GATHER, BM)
    if not live:
        return
    FORM: tl.constexpr = "e2m1" if BITS == 4 else "e4m3"
    HELD: tl.constexpr = 8 // BITS
    HALVES: tl.constexpr = 2 if GATED else 1
    a_depth, b_depth = tl.arange(0, BK // HELD), tl.arange(0, BK // 2)
    block = tl.arange(0, BK // 32)
    col = tl.minimum(tl.program_id(1) * BN + tl.arange(0, BN), N - 1)
    at = (expert.to(tl.int64) * HALVES * N + col)[:, None] * blocks
    a += source[:, None] * a_row + a_depth[None, :]
    b += expert.to(tl.int64) * b_expert + col.to(tl.int64)[None, :] * b_row + b_depth[:, None]
    a_scale += source[:, None] * blocks + block[None, :]
    b_scale += at + block[None, :]
    half, half_scale = N.to(tl.int64) * b_row, N.to(tl.int64) * blocks
    sums = tl.zeros((BM, BN), dtype=tl.float32)
    more = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, blocks, BK // 32):
        inside = (block < blocks - k)[None, :]
        there = (b_depth < (blocks - k) * 16)[:, None]
        a_tile = tl.load(a, mask=(a_depth < (blocks - k) * (32 // HELD))[None, :], other=0)
        by = tl.load(a_scale, mask=inside, other=0)
        b_tile = tl.load(b, mask=there, other=0)
        b_by = tl.load(b_scale, mask=inside, other=0)
        sums = tl.dot_scaled(a_tile, by, FORM, b_tile, b_by, "e2m1", sums)
        if GATED:
            b_tile = tl.load(b + half, mask=there, other=0)
            b_by = tl.load(b_scale + half_scale, mask=inside, other=0)
            more = tl.dot_scaled(a_tile, by, FORM, b_tile, b_by, "e2m1", more)
        a += BK // HELD
        b += BK // 2
        a_scale += BK // 32
        b_scale += BK // 32
    _finish(c, to, kept, weight, sums, more, N, c_row, alpha, limit, shift, GATED, BN)


@triton.jit(do_not_specialize=["topk", "experts"])
def moe_sum(parts, chosen, c, topk, experts, width, BLOCK: tl.constexpr):
    """C[token] = the sum of its `topk` parts, in their order, rounded once.

    `parts` is (tokens * topk, width) in fp32. One whose expert in `chosen`, (tokens * topk,), is
    none of `experts` is not read. Grid: tokens; blocks of a row.
    """
    token = tl.program_id(0).to(tl.int64)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    chosen += token * topk
    parts += token * topk * width + col
    sums = tl.zeros((BLOCK,), dtype=tl.float32)
    for k in range(topk):
        expert = tl.load(chosen + k)
        there = tl.where((expert >= 0) & (expert < experts), width, 0)
        sums += tl.load(parts, mask=col < there, other=0.0)
        parts += width
    tl.store(c + token * width + col, sums.to(c.dtype.element_ty), mask=col < width)
