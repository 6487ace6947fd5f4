"""Matrix product for AMD's matrix cores, with split-K: A has M rows, all else is compiled in.

A block multiplies a tile of A by a tile of B. What both need of a step along K passes through
local memory, in as many stages as the variant says: while one is multiplied, the copies of those
after it are on their way. `product.py` has the details.

With SPLIT above 1 the blocks leave parts in fp32, which `add_up` adds in their order. Atomics
would add them in the order of arrival, so that results would differ from run to run, and need
memory that is cleared before.

`multiply_tiles` is long: only in a kernel itself are loops loops, and not unrolled.
"""

# mypy: ignore-errors
# FlyDSL's language, in Python's syntax.

import flydsl.compiler as flyc
import flydsl.expr as fx

from aot_kernels.flydsl.memory import FAR, buffer, run_of, shared, smaller, store
from aot_kernels.flydsl.product import (
    chunk_numbers,
    extras,
    finished,
    gather,
    leave,
    length,
    multiply_step,
    part_places,
    place_of,
    places_of,
    put_result,
    sums_of,
    target_of,
    waves_of,
)
from aot_kernels.flydsl.stages import await_copies, fetch, finish, hold_b, keep_b, read_b
from aot_kernels.flydsl.tile import (
    ELEMENT_BYTES,
    FIXED_A8W8,
    Tile,
    local_bytes,
    problem,
    read_ahead,
    threads,
)

ADDED = 256
"""Threads of a block that adds up parts, four columns each."""


@flyc.kernel
def multiply_tiles(
    c: fx.Pointer, a: fx.Pointer, b: fx.Pointer, bias: fx.Pointer, parts: fx.Pointer,
    row_scale: fx.Pointer, column_scale: fx.Pointer, M: fx.Int32, tile: fx.Constexpr[tuple],
):  # fmt: skip
    """One tile of C, or of this block's part of it."""
    row = tile.K * ELEMENT_BYTES[tile.dtype]
    down, across = place_of(tile, M)
    lane, wave, wave_m, wave_n, wave_k = waves_of(tile)
    left = smaller(M - down * tile.BM, tile.BM)
    # Tiles are reached from their own corners: offsets of threads fit 32 bits.
    a_tile = buffer(tile.arch, a, fx.Int64(down) * (tile.BM * row), fx.Int64(left) * row)
    b_tile = buffer(tile.arch, b, fx.Int64(across) * (tile.BN * row), tile.BN * row)
    local = shared(local_bytes(tile))

    ways = [(a_tile, tile.BM), (b_tile, tile.BN)] if tile.B_LDS else [(a_tile, tile.BM)]
    steps, ahead = tile.K // tile.BK // tile.SPLIT, max(tile.STAGES - 1, 1)
    numbers = chunk_numbers(tile, wave_k, lane)
    rows, columns = places_of(tile, lane, wave_m, wave_n)
    sums = sums_of(tile)
    held = hold_b(tile, b_tile, columns, numbers)

    for step in fx.range_constexpr(ahead):
        finish(tile, local, fetch(tile, local, wave, ways, step, step))
    for step in range(steps):
        number = fx.Int32(step)
        await_copies(tile)
        fx.gpu.barrier()
        fetched = []
        if fx.const_expr(tile.STAGES > 1):
            stage = (number + ahead) % tile.STAGES
            fetched = fetch(tile, local, wave, ways, number + ahead, stage)
        following = []
        if fx.const_expr(read_ahead(tile)):
            following = read_b(tile, b_tile, number + 1, columns, numbers)
        multiply_step(tile, local, b_tile, number, rows, columns, numbers, held, sums)
        keep_b(held, following)
        if fx.const_expr(tile.STAGES == 1):
            fx.gpu.barrier()
            fetched = fetch(tile, local, wave, ways, number + 1, 0)
        finish(tile, local, fetched)
    await_copies(tile, everything=True)
    if fx.const_expr(tile.WK > 1):
        fx.gpu.barrier()
        if wave_k > 0:
            leave(local, sums, part_places(tile, wave_k, lane, wave_m, wave_n))
        fx.gpu.barrier()
        for other in fx.range_constexpr(1, tile.WK):
            gather(tile, local, sums, part_places(tile, other, lane, wave_m, wave_n))
    target = target_of(tile, c, parts, M, (down, across), left)
    extra = extras(tile, bias, row_scale, column_scale, (down, across), left)
    first = wave_n * (tile.BN // tile.WN) + lane // 16 * length(tile)
    hidden = (wave_k > 0).select(fx.Int32(FAR), fx.Int32(0))
    put_result(tile, sums, target, extra, rows, first, hidden)


@flyc.kernel
def add_up(
    c: fx.Pointer, parts: fx.Pointer, bias: fx.Pointer, row_scale: fx.Pointer,
    column_scale: fx.Pointer, M: fx.Int32, tile: fx.Constexpr[tuple],
):  # fmt: skip
    """A run of one row of C: the sum of the parts, in their order."""
    row, start = fx.block_idx.x, fx.block_idx.y * (ADDED * 4)
    left = smaller(tile.N - start, ADDED * 4)
    column, total = fx.thread_idx.x * 4, None
    for part in fx.range_constexpr(tile.SPLIT):
        before = ((fx.Int64(M) * part + fx.Int64(row)) * tile.N + start) * 4
        found = run_of(buffer(tile.arch, parts, before, left * 4), column, 4, fx.Float32)
        total = found if total is None else total + found
    extra = []
    if fx.const_expr(tile.SCALED):
        extra = [
            buffer(tile.arch, row_scale, fx.Int64(row) * 4, 4),
            buffer(tile.arch, column_scale, start * 4, left * 4),
        ]
    if fx.const_expr(tile.BIAS):
        size = ELEMENT_BYTES[tile.out]
        extra.append(buffer(tile.arch, bias, start * size, left * size))
    size = ELEMENT_BYTES[tile.out]
    target = buffer(tile.arch, c, (fx.Int64(row) * tile.N + start) * size, left * size)
    store(finished(tile, total, extra, 0, column), target, column * size)


@flyc.jit
def launch(
    c: fx.Pointer, a: fx.Pointer, b: fx.Pointer, bias: fx.Pointer, parts: fx.Pointer,
    row_scale: fx.Pointer, column_scale: fx.Pointer, M: fx.Int32, tile: fx.Constexpr[tuple],
    stream: fx.Stream,
):  # fmt: skip
    """C (M, N) = A (M, K) B (N, K)^T: pointers to bytes, contiguous rows.

    `parts` has room for SPLIT of C in fp32; `row_scale` (M,) and `column_scale` (N,) are fp32;
    `bias` (N,) has C's type. What a variant does not use may point anywhere.
    """
    hints = {"rocdl.waves_per_eu": tile.WAVES} if tile.WAVES else {}
    blocks = (M + tile.BM - 1) // tile.BM * (tile.N // tile.BN)
    multiply_tiles(
        c, a, b, bias, parts, row_scale, column_scale, M, tile, value_attrs=hints
    ).launch(grid=(blocks, tile.SPLIT, 1), block=(threads(tile), 1, 1), stream=stream)
    if fx.const_expr(tile.SPLIT > 1):
        add_up(c, parts, bias, row_scale, column_scale, M, tile).launch(
            grid=(M, -(-tile.N // (ADDED * 4)), 1), block=(ADDED, 1, 1), stream=stream
        )


def build(out_dir: str, target: str, **row) -> None:
    """Compile the variant of a row: columns of Tile but `arch`, without `dtype` if it is fp8."""
    compiled(Tile(arch=target.partition(":")[2], **row))


def build_a8w8(out_dir: str, target: str, **row) -> None:
    """Compile a variant for fp8 with scales and preshuffled weights."""
    compiled(Tile(arch=target.partition(":")[2], **FIXED_A8W8, **row))


def compiled(tile: Tile) -> None:
    """Make FlyDSL compile a tile: it leaves that in its cache folder. Raises ValueError."""
    started(tile, dict.fromkeys(("c", "a", "b", "bias", "parts", "row_scale", "column_scale")), 1)


def started(tile: Tile, pointers: dict, M: int, stream: int = 0) -> None:
    """Launch, or with FlyDSL's COMPILE_ONLY set compile: one way, so that both have one key.

    FlyDSL keys a launch by the types of what it takes, not by addresses.
    """
    if problem(tile):
        raise ValueError(f"no such kernel: {problem(tile)}; got {tile}")
    given = {
        name: flyc.from_c_void_p(fx.Int8, at, assumed_align=16) for name, at in pointers.items()
    }
    launch(**given, M=M, tile=tile, stream=fx.Stream(stream))
