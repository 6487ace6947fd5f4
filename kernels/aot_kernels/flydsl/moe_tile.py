# mypy: ignore-errors
"""The parts of a tile of products of one expert's rows and weights; `moe.py` puts them together.

A matrix instruction multiplies 16 rows of weights with 16 rows of x over `STEP` elements. It takes
the weights as its first operand, so that a lane ends up with four neighbouring columns of one row
of the result, which it stores at once, and the 32 values that share a scale lie in four lanes.

All operands are read in pieces of 16 bytes: lane l of a wave holds piece l // 16 of 64 bytes of
row l % 16. An instruction on 128 fp8 takes two such pieces, on 128 fp4 or 32 bf16 one, on gfx942
(16 bf16) half of one: the eight elements of a piece then go into two instructions, in an order of
the sum that weights and x have in common.
"""

import flydsl.expr as fx
from flydsl.expr import const_expr, gpu, range_constexpr, rocdl
from flydsl.expr.typing import T

from aot_kernels.flydsl.memory import get, load, put, store
from aot_kernels.flydsl.moe_plan import BITS, STEP

PIECES = {"bf16": 1, "fp8": 2, "fp4": 1}
"""Pieces of 16 bytes that a lane holds of a row in a step."""
FORMAT = {"fp8": 0, "fp4": 4}
"""How the scaled instruction calls a type of its operands."""
LARGEST = {"fp8": 448.0, "fp4": 6.0}
LOG2_E = 1.4426950408889634


def multiply(arch, kind, weights, rows, sums, scale_of_weights, scale_of_rows):
    """One step: the sums with 16 x 16 products added; scales are e8m0 in the lowest byte."""
    if const_expr(kind == "bf16" and arch == "gfx942"):
        weights, rows = weights.bitcast(fx.Int16), rows.bitcast(fx.Int16)
        for half in range_constexpr(2):
            pick = list(range(4 * half, 4 * half + 4))
            operands = [weights.shuffle(weights, pick), rows.shuffle(rows, pick), sums]
            sums = fx.Vector(rocdl.mfma_f32_16x16x16bf16_1k(T.vec(4, T.f32), operands))
        return sums
    if const_expr(kind == "bf16"):
        operands = [weights.bitcast(fx.BFloat16), rows.bitcast(fx.BFloat16), sums]
        return fx.Vector(rocdl.mfma_f32_16x16x32_bf16(T.vec(4, T.f32), operands))
    formats = [FORMAT["fp4"], FORMAT[kind]]
    operands = [weights, rows, sums, *formats, 0, scale_of_weights, 0, scale_of_rows]
    return fx.Vector(rocdl.mfma_scale_f32_16x16x128_f8f6f4(T.vec(4, T.f32), operands))


def operand(pieces):
    """The registers of an operand: one piece, or two side by side."""
    if const_expr(len(pieces) == 1):
        return pieces[0]
    return pieces[0].shuffle(pieces[1], list(range(8)))


def load_weights(source, first_rows, row_bytes, slab, slab_bytes, lane, policy):
    """All pieces of a slab, for each 16 rows of weights that start where `first_rows` says.

    Weights are laid out so that a wave reads 1 KiB in a row: 16 rows x 16 bytes lie together,
    [rows / 16][bytes of a row / 16][16][16].
    """
    found = []
    for first in first_rows:
        start = first * row_bytes + slab * (slab_bytes * 16) + lane * 16
        found += [load(source, start + 1024 * i, 4, policy) for i in range(slab_bytes // 64)]
    return found


def load_scales(source, rows, row_bytes, slab, steps):
    """For each row the scales of a slab: four bytes, those of 128 elements, a step."""
    words = []
    for row in rows:
        found = load(source, row * row_bytes + slab * (4 * steps), steps)
        words += [found] if const_expr(steps == 1) else [found[i] for i in range(steps)]
    return words


def swizzled(row, piece, slab_bytes):
    """Where a piece of a row lies in LDS: so that 16 rows' pieces lie in different banks."""
    pieces = slab_bytes // 16
    return row * slab_bytes + (piece ^ (row & (pieces - 1))) * 16


def read_rows(lds, start, m, step, kind, slab_bytes, lane):
    """The operand of 16 rows of x in a step, out of LDS."""
    row, group = m * 16 + lane % 16, lane // 16
    at = [(step * PIECES[kind] + i) * 4 + group for i in range(PIECES[kind])]
    return operand([get(lds, start + swizzled(row, piece, slab_bytes)) for piece in at])


def multiply_slab(plan, lds, start, weights, of_weights, of_rows, sums, lane):
    """The sums of a wave with a slab's products; each 16 columns' sums lie together, by rows."""
    steps, ms = plan.tile_k // STEP[plan.a], plan.tile_m // 16
    scaled, sums = plan.a != "bf16", list(sums)
    pieces = PIECES["fp4" if scaled else "bf16"]
    slab_bytes = plan.tile_k * BITS[plan.a] // 8
    for step in range_constexpr(steps):
        rows = [read_rows(lds, start, m, step, plan.a, slab_bytes, lane) for m in range(ms)]
        for n in range_constexpr(len(sums) // ms):
            first = (n * steps + step) * pieces
            own = operand(weights[first : first + pieces])
            for m in range_constexpr(ms):
                scales = [None, None]
                if const_expr(scaled):
                    scales = [of_weights[n * steps + step], of_rows[m * steps + step]]
                at = n * ms + m
                sums[at] = multiply(plan.arch, plan.a, own, rows[m], sums[at], *scales)
    return sums


def sums_of(plan, sums, m, n):
    """Those of 16 rows and 16 columns: of gate and up, or down's."""
    ms, ns = plan.tile_m // 16, plan.columns // plan.n_waves // 16
    return [sums[(side + n) * ms + m] for side in range(0, len(sums) // ms, ns)]


def add_waves(plan, lds, wave, n_wave, lane, sums):
    """The sums of all waves that share a tile's columns, in the order of their slabs."""
    added = []
    for i in range_constexpr(len(sums)):
        put(lds, (wave * len(sums) + i) * 1024 + lane * 16, sums[i].bitcast(fx.Int32))
    gpu.barrier()
    for i in range_constexpr(len(sums)):
        total = fx.Vector.filled(4, 0.0, fx.Float32)
        for k in range_constexpr(plan.k_waves):
            at = (k * plan.n_waves + n_wave) * len(sums) + i
            total += get(lds, at * 1024 + lane * 16).bitcast(fx.Float32)
        added.append(total)
    return added


def activated(constants, gate, up):
    """Four columns of g * sigmoid(alpha * g) * (u + shift), as `aot_kernels.gated` says."""
    alpha, limit, shift = constants
    made = []
    for i in range_constexpr(4):
        g, u = fx.Float32(gate[i]), fx.Float32(up[i])
        if const_expr(limit < float("inf")):
            top, bottom = fx.Float32(limit), fx.Float32(-limit)
            g, u = (g > top).select(top, g), (u > top).select(top, u)
            u = (u < bottom).select(bottom, u)
        power = rocdl.exp2(T.f32, (g * fx.Float32(-alpha * LOG2_E)).ir_value())
        share = rocdl.rcp(T.f32, (fx.Float32(1.0) + fx.Float32(power)).ir_value())
        made.append(g * fx.Float32(share) * (u + fx.Float32(shift)))
    return fx.Vector.from_elements(made, fx.Float32)


def store_row(plan, made, targets, row, column, lane):
    """A row's columns of a wave, of which a lane has four in each 16."""
    first = column + lane // 16 * 4
    if const_expr(plan.out == "bf16"):
        for n in range_constexpr(len(made)):
            store_bf16(made[n], targets[0], row, plan.n, first + 16 * n)
    else:
        for n in range_constexpr(0, len(made), 2):
            store_scaled(plan.out, made[n : n + 2], targets, row, plan.n, first + 16 * n, lane)


def store_bf16(values, target, row, columns, first):
    """Four neighbouring columns of a row."""
    store(values.to(fx.BFloat16), target, row * (columns * 2) + first * 2)


def store_scaled(kind, pair, targets, row, columns, first, lane):
    """32 columns of a row, of which a lane has four and 16 further on four: codes and a scale.

    The scale is the least power of two with which the largest fits (OCP's microscaling formats
    leave that choice open), so nothing saturates.
    """
    codes, scales = targets
    largest = fx.Float32(0.0)
    for value in [fx.Float32(each[i]) for each in pair for i in range(4)]:
        size = (value < fx.Float32(0.0)).select(-value, value)
        largest = (size > largest).select(size, largest)
    for distance in (16, 32):
        other = fx.Float32(gpu.shuffle_xor(largest, distance, 64))
        largest = (other > largest).select(other, largest)
    bits = (largest * fx.Float32(1.0 / LARGEST[kind])).bitcast(fx.Int32)
    exponent = (bits + fx.Int32(0x7FFFFF)).shrui(fx.Int32(23)) & fx.Int32(0xFF)
    # 2^-127, which a code of 0 stands for, is no normal number: the conversion would see a 0.
    exponent = (exponent > fx.Int32(1)).select(exponent, fx.Int32(1))
    scale = (exponent << fx.Int32(23)).bitcast(fx.Float32)
    for half in range_constexpr(2):
        place = row * columns + first + 16 * half
        if const_expr(kind == "fp8"):
            store(_fp8(pair[half], scale), codes, place)
        else:
            store(_fp4(pair[half], scale), codes, place // 2)
    # Lanes of the first 16 have it; the others store where nothing is.
    mine = (lane < fx.Int32(16)).select(row * (columns // 32) + first // 32, fx.Int32(-1))
    store(fx.Int32(exponent).to(fx.Int8), scales, mine)


def _fp8(values, scale):
    kind, words = T.vec(2, T.i16), fx.Vector.filled(2, 0, fx.Int16).ir_value()
    for half in range_constexpr(2):
        two = [fx.Float32(values[2 * half + i]).ir_value() for i in range(2)]
        words = rocdl.cvt_scalef32_pk_fp8_f32(kind, words, *two, scale.ir_value(), bool(half))
    return fx.Int32(fx.Vector(words).bitcast(fx.Int32)[0])


def _fp4(values, scale):
    word = fx.Int32(0).ir_value()
    for half in range_constexpr(2):
        two = [fx.Float32(values[2 * half + i]).ir_value() for i in range(2)]
        word = rocdl.cvt_scalef32_pk_fp4_f32(T.i32, word, *two, scale.ir_value(), half)
    return fx.Int32(word).to(fx.Int16)
