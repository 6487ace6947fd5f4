# mypy: ignore-errors
"""The kernels of a mixture of experts: rows times the weights of their expert, and the last sum.

What one is compiled for is a `Plan`. Numbers of tokens, experts and choices, blocks that were
sorted together, the order of tiles and the size of the grid are arguments. Blocks take tiles until
none is left, so that a grid of any size is right.

`expert_rows` is long: only in a kernel itself are loops loops, and not unrolled.
"""

import flydsl.compiler as flyc
import flydsl.expr as fx
from flydsl.expr import const_expr, gpu, range_constexpr

from aot_kernels.flydsl.memory import buffer, load, one_of, put, shared, store, uniform
from aot_kernels.flydsl.moe_plan import BITS, STEP, Plan, threads
from aot_kernels.flydsl.moe_tile import (
    activated,
    add_waves,
    load_scales,
    load_weights,
    multiply_slab,
    store_row,
    sums_of,
    swizzled,
)
from aot_kernels.flydsl.order import grouped, neighbours

ENDLESS = 0x7FFFFFFF
"""As many bytes as a buffer may have whose size nobody tells."""


@flyc.kernel
def expert_rows(
    x: fx.Pointer,
    x_scale: fx.Pointer,
    w: fx.Pointer,
    w_scale: fx.Pointer,
    ids: fx.Pointer,
    experts: fx.Pointer,
    used: fx.Pointer,
    factors: fx.Pointer,
    y: fx.Pointer,
    y_scale: fx.Pointer,
    x_rows: fx.Int32,
    slots: fx.Int32,
    topk: fx.Int32,
    sort_block: fx.Int32,
    together: fx.Int32,
    plan: fx.Constexpr[tuple],
):
    plan = Plan(*plan)
    sides = 2 if plan.stage == "up" else 1
    weight_kind = "bf16" if plan.a == "bf16" else "fp4"
    scaled = plan.a != "bf16"
    steps = plan.tile_k // STEP[plan.a]
    slabs = plan.k // plan.tile_k // plan.k_waves
    x_bytes, w_bytes = plan.k * BITS[plan.a] // 8, plan.k * BITS[weight_kind] // 8
    slab_x, slab_w = plan.tile_k * BITS[plan.a] // 8, plan.tile_k * BITS[weight_kind] // 8
    ms, ns = plan.tile_m // 16, plan.columns // plan.n_waves // 16
    half = plan.k_waves * plan.tile_m * slab_x
    sums_size = 0 if plan.k_waves == 1 else threads(plan) * ms * ns * sides * 16
    y_bytes = plan.n * BITS[plan.out] // 8

    thread = fx.Int32(fx.thread_idx.x)
    lane, wave = thread % 64, uniform(thread // 64)
    n_wave, k_wave = wave % plan.n_waves, wave // plan.n_waves
    lds = shared(max(2 * half, sums_size))
    id_buffer = buffer(plan.arch, ids, 0, ENDLESS)
    expert_buffer = buffer(plan.arch, experts, 0, ENDLESS)
    factor_buffer = buffer(plan.arch, factors, 0, fx.Int64(slots) * 4)
    x_buffer = buffer(plan.arch, x, 0, fx.Int64(x_rows) * x_bytes)
    x_scales = buffer(plan.arch, x_scale, 0, fx.Int64(x_rows) * (plan.k // 32))
    y_buffer = buffer(plan.arch, y, 0, fx.Int64(slots) * y_bytes)
    y_scales = buffer(plan.arch, y_scale, 0, fx.Int64(slots) * (plan.n // 32))

    tiles_n = plan.n // plan.columns
    tiles_m = uniform(load(buffer(plan.arch, used, 0, 4), 0, 1)) // plan.tile_m
    tiles = tiles_m * tiles_n

    for turn in range(fx.Int32(fx.block_idx.x), tiles, fx.Int32(fx.grid_dim.x)):
        tile_m, tile_n = place(fx.Int32(turn), tiles_m, tiles_n, together)
        first = tile_m * plan.tile_m
        expert = uniform(load(expert_buffer, first // sort_block * 4, 1))

        # Weights of this expert: a buffer of its own, as all of them pass 4 GiB.
        rows_of_expert = plan.n * sides
        w_size = rows_of_expert * w_bytes
        w_buffer = buffer(plan.arch, w, fx.Int64(expert) * w_size, w_size)
        w_scale_size = rows_of_expert * (plan.k // 32)
        w_scales = buffer(plan.arch, w_scale, fx.Int64(expert) * w_scale_size, w_scale_size)
        column = tile_n * plan.columns + n_wave * (ns * 16)
        w_rows = weight_rows(plan, column)

        # Rows of x that this thread brings into LDS, and those whose scales and results it has.
        places, sources = [], []
        for row, wave_of, piece in pieces_of(plan, thread):
            id = load(id_buffer, (first + row) * 4, 1)
            row_of_x = (id < slots).select(id // topk, x_rows)
            sources.append(row_of_x * x_bytes + wave_of * slab_x + piece * 16)
            places.append(wave_of * (plan.tile_m * slab_x) + swizzled(row, piece, slab_x))
        found = [load(id_buffer, (first + m * 16 + lane % 16) * 4, 1) for m in range(ms)]
        scale_rows = [(id < slots).select(id // topk, x_rows) for id in found]

        # The first slab, then always one ahead.
        rows_next = [load(x_buffer, source, 4) for source in sources]
        for i in range_constexpr(len(places)):
            put(lds, places[i], rows_next[i])
        w_next = load_weights(w_buffer, w_rows, w_bytes, k_wave, slab_w, lane, plan.policy)
        gpu.barrier()

        zeros = [fx.Vector.filled(4, 0.0, fx.Float32) for _ in range(ms * ns * sides)]
        count = len(zeros)
        for slab, state in range(fx.Int32(0), fx.Int32(slabs), fx.Int32(1), init=[*zeros, *w_next]):
            sums = [fx.Vector(each) for each in state[:count]]
            w_now = [fx.Vector(each) for each in state[count:]]
            slab = fx.Int32(slab)
            mine = slab * plan.k_waves + k_wave
            follows = (slab + 1 < slabs).select(slab + 1, slab)
            x_far = follows * (plan.k_waves * slab_x)
            rows_next = [load(x_buffer, source + x_far, 4) for source in sources]
            w_far = follows * plan.k_waves + k_wave
            w_next = load_weights(w_buffer, w_rows, w_bytes, w_far, slab_w, lane, plan.policy)
            of_w, of_x = [], []
            if const_expr(scaled):
                own = [row + lane % 16 for row in w_rows]
                of_w = load_scales(w_scales, own, plan.k // 32, mine, steps)
                of_x = load_scales(x_scales, scale_rows, plan.k // 32, mine, steps)
                shift = lane // 16 * 8
                of_w, of_x = [s.shrui(shift) for s in of_w], [s.shrui(shift) for s in of_x]

            now = slab % 2 * half + k_wave * (plan.tile_m * slab_x)
            sums = multiply_slab(plan, lds, now, w_now, of_w, of_x, sums, lane)
            for i in range_constexpr(len(places)):
                put(lds, (slab + 1) % 2 * half + places[i], rows_next[i])
            gpu.barrier()
            results = yield [*sums, *w_next]
        sums = [fx.Vector(each) for each in results[:count]]

        if const_expr(plan.k_waves > 1):
            sums = add_waves(plan, lds, wave, n_wave, lane, sums)
        # Rows that are padding, or another wave's to store, go past the end.
        for m in range_constexpr(ms):
            row = (found[m] < slots).select(found[m], slots)
            row = (k_wave == 0).select(row, slots)
            if const_expr(plan.stage == "up"):
                made = [activated(plan.gate, *sums_of(plan, sums, m, n)) for n in range(ns)]
            else:
                factor = fx.Vector.filled(4, one_of(factor_buffer, row), fx.Float32)
                made = [sums_of(plan, sums, m, n)[0] * factor for n in range(ns)]
            store_row(plan, made, (y_buffer, y_scales), row, column, lane)
        # The next tile's rows go where this one's sums may still be read.
        gpu.barrier()


def weight_rows(plan, column):
    """Where in an expert's weights each 16 rows start that make a wave's columns: gate, then up."""
    ns = plan.columns // plan.n_waves // 16
    starts = [column + 16 * n for n in range(ns)]
    if const_expr(plan.stage == "down"):
        return starts
    if const_expr(plan.interleaved):
        return [2 * start + 16 * side for side in range(2) for start in starts]
    return [start + plan.n * side for side in range(2) for start in starts]


def pieces_of(plan, thread):
    """Row, wave and place in a row of the pieces of 16 bytes that a thread copies in a slab.

    Threads that are left over copy what others do.
    """
    in_row = plan.tile_k * BITS[plan.a] // 8 // 16
    pieces, found = plan.k_waves * plan.tile_m * in_row, []
    for i in range_constexpr(max(1, pieces // threads(plan))):
        number = (thread + i * threads(plan)) % pieces
        row = number // in_row
        found.append((row % plan.tile_m, row // plan.tile_m, number % in_row))
    return found


def place(turn, tiles_m, tiles_n, together):
    """Where a turn's tile lies, down and across; each exactly once.

    With `together` above 0, neighbours in time on one die share that many rows of tiles, so that
    what they read of the weights stays in its cache.
    """
    turn = fx.Int32(turn)
    turn = (together > 0).select(neighbours(turn, tiles_m * tiles_n), turn)
    rows = (together > 0).select(together, fx.Int32(1))
    down, across = grouped(turn, tiles_m, tiles_n, rows)
    return uniform(down), uniform(across)


@flyc.kernel
def add_choices(
    y: fx.Pointer, total: fx.Pointer, tokens: fx.Int32, topk: fx.Int32, plan: fx.Constexpr[tuple]
):
    arch, n = Plan(*plan).arch, Plan(*plan).n
    number = fx.Int32(fx.block_idx.x) * 256 + fx.Int32(fx.thread_idx.x)
    token, column = number // (n // 8), number % (n // 8) * 8
    source = buffer(arch, y, 0, fx.Int64(tokens) * fx.Int64(topk) * (n * 2))
    target = buffer(arch, total, 0, fx.Int64(tokens) * (n * 2))
    zeros = fx.Vector.filled(8, 0.0, fx.Float32)
    for choice, state in range(fx.Int32(0), topk, fx.Int32(1), init=[zeros]):
        row = token * topk + fx.Int32(choice)
        part = load(source, row * (n * 2) + column * 2, 4).bitcast(fx.BFloat16)
        results = yield [fx.Vector(state[0]) + part.to(fx.Float32)]
    store(fx.Vector(results).to(fx.BFloat16), target, number * 16)
