"""What the threads of a block do for a product of tiles; `gemm.py` puts it together.

The operands of the matrix instruction are exchanged, so that a lane ends up with neighbours of
one row of C and stores them at once. Which of a row's elements a lane holds differs between the
instructions, but is the same for both operands; as sums do not depend on it, a lane always takes
whole chunks, and one source serves them all.
"""

# mypy: ignore-errors
# FlyDSL's language, in Python's syntax.

import flydsl.expr as fx

from aot_kernels.flydsl.memory import buffer, get, one_of, part_of, put, run_of, store, uniform
from aot_kernels.flydsl.order import grouped, neighbours
from aot_kernels.flydsl.stages import far_chunks, local_chunks
from aot_kernels.flydsl.tile import (
    CHUNK,
    ELEMENT_BYTES,
    depth,
    lanes,
    loads,
    operand_bytes,
    row_bytes,
    stage_bytes,
    threads,
)


def element(tile):
    """FlyDSL's type of A and B."""
    fp8 = fx.Float8E4M3FNUZ if tile.arch == "gfx942" else fx.Float8E4M3FN
    return {"bf16": fx.BFloat16, "fp16": fx.Float16, "fp8": fp8}[tile.dtype]


def result(out):
    """FlyDSL's type of C."""
    return {"bf16": fx.BFloat16, "fp16": fx.Float16, "fp32": fx.Float32}[out]


def instruction(tile):
    """The matrix instruction."""
    kind = element(tile)
    if lanes(tile) == 32:
        return fx.make_mma_atom(fx.rocdl.WMMA(16, 16, depth(tile), kind))
    if operand_bytes(tile) == 32:
        return fx.make_mma_atom(fx.rocdl.cdna4.MFMA_Scale(16, 16, depth(tile), kind))
    return fx.make_mma_atom(fx.rocdl.MFMA(16, 16, depth(tile), kind))


def place_of(tile, M):
    """This block's tile, counted down and across: neighbours share columns of B."""
    down, across = (M + tile.BM - 1) // tile.BM, tile.N // tile.BN
    number = fx.block_idx.x
    if not tile.DIES:
        return number % down, number // down
    return grouped(neighbours(number, down * across), down, across, tile.DIES)


def waves_of(tile):
    """This thread's lane, and its wave's place: down, across, along K."""
    wave = uniform(fx.thread_idx.x // lanes(tile))
    along, rest = wave // (tile.WM * tile.WN), wave % (tile.WM * tile.WN)
    return fx.thread_idx.x % lanes(tile), wave, rest // tile.WN, rest % tile.WN, along


def chunk_numbers(tile, along, lane):
    """Of a row, those that make up each operand that this lane holds, in their order."""
    apart = lanes(tile) // 16
    together = max(operand_bytes(tile) // CHUNK, 1)
    count = row_bytes(tile) // CHUNK // apart // together // tile.WK
    return [
        [((along * count + n) * together + part) * apart + lane // 16 for part in range(together)]
        for n in range(count)
    ]


def operands_of(tile, chunks):
    """Chunks as what the matrix instruction takes, one after the other."""
    words = operand_bytes(tile) // 4
    if words < 4:
        parts = [part_of(chunk, at, words) for chunk in chunks for at in range(0, 4, words)]
    else:
        parts = [chunks[0].shuffle(chunks[1], list(range(8)))] if words > 4 else chunks
    found = []
    for part in parts:
        held = fx.make_rmem_tensor(words * 4 // ELEMENT_BYTES[tile.dtype], element(tile))
        held.store(part.bitcast(element(tile)))
        found.append(held)
    return found


def multiply(tile, sums, left, columns):
    """Add the products of 16 rows and all columns along a run of K: lists of operands."""
    for held, column in zip(sums, columns, strict=True):
        for right, other in zip(column, left, strict=True):
            fx.mma_atom_call(instruction(tile), held, right, other, held)


def length(tile):
    """Neighbours of a row of C that a lane holds of 16 by 16."""
    return 256 // lanes(tile)


def sums_of(tile):
    """Where this wave adds up: for each 16 by 16 what one lane holds."""
    down, across = tile.BM // tile.WM // 16, tile.BN // tile.WN // 16
    run = length(tile)
    found = [[fx.make_rmem_tensor(run, fx.Float32) for _ in range(across)] for _ in range(down)]
    for row in found:
        for held in row:
            held.store(fx.Vector.filled(run, 0.0, fx.Float32))
    return found


def part_places(tile, number, lane, down, across):
    """Where in local memory the sums of the wave at a place are left: the waves' `number` (from 1)
    along K.
    """
    run, each = length(tile), tile.WM * tile.WN * lanes(tile)
    wide, high = tile.BN // tile.WN // 16, tile.BM // tile.WM // 16
    place = (down * tile.WN + across) * lanes(tile) + lane
    return [
        [((((number - 1) * high + m) * wide + n) * each + place) * run * 4 for n in range(wide)]
        for m in range(high)
    ]


def leave(local, sums, places):
    """Store sums into local memory, as they are."""
    for row, row_places in zip(sums, places, strict=True):
        for held, place in zip(row, row_places, strict=True):
            put(local, place, held.load().bitcast(fx.Int32))


def gather(tile, local, sums, places):
    """Add what other waves left."""
    for row, row_places in zip(sums, places, strict=True):
        for held, place in zip(row, row_places, strict=True):
            left = get(local, place, length(tile)).bitcast(fx.Float32)
            held.store(held.load() + left)


def multiply_step(tile, local, source, step, rows, columns, numbers, held, sums):
    """Multiply the tiles of one step, run by run along K; `source` is B's tile in global memory.

    Rows one after the other: a large tile has no registers for the operands of all.
    """
    at = step % tile.STAGES * stage_bytes(tile)
    b_at = at + loads(tile, tile.BM) * threads(tile) * CHUNK
    for number, each in enumerate(numbers):
        if tile.B_LDS:
            found = [local_chunks(tile, local, b_at, column, each) for column in columns]
        elif held:
            found = [[register.load() for register in column[number]] for column in held]
        else:
            found = [far_chunks(tile, source, step, column, each) for column in columns]
        right = [operands_of(tile, chunks) for chunks in found]
        for row, row_sums in zip(rows, sums, strict=True):
            left = operands_of(tile, local_chunks(tile, local, at, row, each))
            multiply(tile, row_sums, left, right)


def extras(tile, bias, row_scale, column_scale, place, left):
    """Buffers of this block's scales and bias, those that there are."""
    down, across = place
    found = []
    if tile.SCALED:
        found += [
            buffer(tile.arch, row_scale, fx.Int64(down) * (tile.BM * 4), left * 4),
            buffer(tile.arch, column_scale, across * (tile.BN * 4), tile.BN * 4),
        ]
    if tile.BIAS:
        size = ELEMENT_BYTES[tile.out]
        found.append(buffer(tile.arch, bias, across * (tile.BN * size), tile.BN * size))
    return found


def finished(tile, vector, extra, row, column):
    """Sums with what `extras` has of their row and columns, rounded to C's type."""
    count = vector.numel
    if tile.SCALED:
        factors = run_of(extra[1], column, count, fx.Float32)
        vector = vector * factors * fx.Vector.filled(count, one_of(extra[0], row), fx.Float32)
    if tile.BIAS:
        vector = vector + run_of(extra[-1], column, count, result(tile.out))
    return vector if tile.out == "fp32" else vector.to(result(tile.out))


def places_of(tile, lane, wave_m, wave_n):
    """The rows and columns of this block's tiles of A and B that this lane reads."""
    high, wide = tile.BM // tile.WM, tile.BN // tile.WN
    rows = [wave_m * high + at + lane % 16 for at in range(0, high, 16)]
    return rows, [wave_n * wide + at + lane % 16 for at in range(0, wide, 16)]


def target_of(tile, c, parts, M, place, left):
    """The buffer that this block's tile goes to, from its corner to the end of its last row."""
    down, across = place
    size = ELEMENT_BYTES["fp32" if tile.SPLIT > 1 else tile.out]
    width, before = tile.N * size, across * (tile.BN * size)
    corner = fx.Int64(down) * (tile.BM * width) + before
    if tile.SPLIT > 1:
        corner = corner + fx.Int64(fx.block_idx.y) * fx.Int64(M) * width
    return buffer(
        tile.arch, parts if tile.SPLIT > 1 else c, corner, fx.Int64(left) * width - before
    )


def put_result(tile, sums, target, extra, rows, first, hidden):
    """Store what this lane has of C, from column `first` on; nowhere if `hidden` is FAR."""
    size = ELEMENT_BYTES["fp32" if tile.SPLIT > 1 else tile.out]
    for row, held in zip(rows, sums, strict=True):
        for n, register in enumerate(held):
            vector, column = register.load(), first + n * 16
            if tile.SPLIT == 1:
                vector = finished(tile, vector, extra, row, column)
            store(vector, target, row * (tile.N * size) + column * size + hidden)
