"""How tiles of A and B get to the threads that multiply them: through local memory, or straight.

A row of a stage is stored in chunks of 16 bytes whose order depends on the row, so that the lanes
of a wave, which read the same chunk of 16 rows, reach all banks of local memory.
"""

# mypy: ignore-errors
# FlyDSL's language, in Python's syntax.

import flydsl.expr as fx

from aot_kernels.flydsl.memory import FAR, get, load, put, word
from aot_kernels.flydsl.tile import (
    CHUNK,
    ELEMENT_BYTES,
    lanes,
    loads,
    read_ahead,
    row_bytes,
    stage_bytes,
    threads,
)


def slot(tile, row, chunk):
    """Where a chunk of a row lies among the row's chunks; its own inverse."""
    return chunk ^ (row % min(8, row_bytes(tile) // CHUNK))


def sources(tile, rows, depth_bytes):
    """Offsets of the chunks that this thread copies of a tile of a matrix with rows of K."""
    found = []
    for time in range(loads(tile, rows)):
        number = fx.thread_idx.x + time * threads(tile)
        row, at = number // (row_bytes(tile) // CHUNK), number % (row_bytes(tile) // CHUNK)
        row_start = row * (tile.K * ELEMENT_BYTES[tile.dtype])
        found.append(row_start + slot(tile, row, at) * CHUNK + depth_bytes)
    return found


def copied(tile, local, wave, source, rows, depth_bytes, at):
    """Copy a tile to `at` bytes into local memory. Gives what is still to be stored there."""
    offsets = sources(tile, rows, depth_bytes)
    if not tile.ASYNC:
        return [load(source, offset, 4) for offset in offsets]
    for time, offset in enumerate(offsets):
        # Each lane's chunk follows the one before it: the place is the wave's.
        to = at + (wave * lanes(tile) + time * threads(tile)) * CHUNK
        pointer = fx.to_llvm_ptr(word(local, to))
        fx.rocdl.raw_ptr_buffer_load_lds(source, pointer, CHUNK, fx.Int32(offset), 0, 0, 0)
    return []


def keep(tile, local, chunks, at):
    """Store what `copied` gave."""
    for time, chunk in enumerate(chunks):
        to = at + (fx.thread_idx.x + time * threads(tile)) * CHUNK
        put(local, to, chunk)


def fetch(tile, local, wave, operands, step, stage):
    """Start to copy the tiles of a step along K; beyond the last one, nothing is read."""
    steps = tile.K // tile.BK // tile.SPLIT
    far = (fx.Int32(step) < steps).select(fx.Int32(0), fx.Int32(FAR))
    depth_bytes = (fx.block_idx.y * steps + step) * row_bytes(tile) + far
    found, at = [], stage * stage_bytes(tile)
    for source, rows in operands:
        found.append((copied(tile, local, wave, source, rows, depth_bytes, at), at))
        at = at + loads(tile, rows) * threads(tile) * CHUNK
    return found


def finish(tile, local, fetched):
    """Store what was fetched, unless it is on its way without passing through registers."""
    for chunks, at in fetched:
        keep(tile, local, chunks, at)


def await_copies(tile, everything=False):
    """Wait until this wave's copies of the next tile to multiply have landed.

    Copies end in their order. The barrier that follows tells the other waves.
    """
    if tile.ASYNC:
        later = loads(tile, tile.BM) + (loads(tile, tile.BN) if tile.B_LDS else 0)
        allowed = 0 if everything else max(tile.STAGES - 2, 0) * later
        fx.rocdl.s_waitcnt(vmcnt=min(allowed, 63))


def local_chunks(tile, local, at, row, numbers):
    """Chunks of a row of a tile in local memory."""
    start = at + row * row_bytes(tile)
    return [get(local, start + slot(tile, row, number) * CHUNK) for number in numbers]


def far_chunks(tile, source, step, column, numbers):
    """Chunks of a column of B in global memory: `column` is its number in this block's tile."""
    steps = tile.K // tile.BK // tile.SPLIT
    far = (fx.Int32(step) < steps).select(fx.Int32(0), fx.Int32(FAR))
    step = fx.block_idx.y * steps + step
    row = tile.K * ELEMENT_BYTES[tile.dtype]
    if not tile.PRESHUFFLE:
        start = column * row + step * row_bytes(tile) + far
        return [load(source, start + number * CHUNK, 4) for number in numbers]
    # The same chunk of 16 columns lies together.
    start = column // 16 * (row * 16) + column % 16 * CHUNK + step * (row_bytes(tile) * 16) + far
    return [load(source, start + number * (16 * CHUNK), 4) for number in numbers]


def read_b(tile, source, step, columns, numbers):
    """What this wave needs of a step's tile of B in global memory, chunk by chunk."""
    return [
        [far_chunks(tile, source, step, column, each) for each in numbers] for column in columns
    ]


def hold_b(tile, source, columns, numbers):
    """Registers with what this wave needs of the first tile of B, if it is read ahead."""
    if not read_ahead(tile):
        return []
    found = []
    for column in read_b(tile, source, fx.Int32(0), columns, numbers):
        found.append([[fx.make_rmem_tensor(4, fx.Int32) for _ in each] for each in column])
        keep_b(found[-1:], [column])
    return found


def keep_b(held, chunks):
    """Replace what the registers hold."""
    for registers, column in zip(held, chunks, strict=True):
        for places, each in zip(registers, column, strict=True):
            for register, chunk in zip(places, each, strict=True):
                register.store(chunk)
