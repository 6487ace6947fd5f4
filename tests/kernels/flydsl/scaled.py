"""What block-scaled matrix instructions and conversions of gfx950 do, for `interpret.py`.

`run(text, arch, arguments)` is `interpret.run` with these besides, and with arithmetic on
addresses that are plain 64-bit integers.

`v_mfma_scale_f32_16x16x128_f8f6f4` (AMD CDNA4 ISA, 7.1): lane l holds row l % 16 of an operand. Of
4-bit elements it holds the 32 from k = 32 (l / 16), of 8-bit ones 16 from k = 16 (l / 16) and 16
from k = 64 + 16 (l / 16). Whatever it holds, its scale is that of the 32 elements from
k = 32 (l / 16) of its row: e8m0, in the byte of the scale's register that `opsel` names.
"""

import re

import numpy as np
import torch
from flydsl._mlir import ir

from tests.kernels.flydsl import interpret
from tests.kernels.flydsl.machine import Fault, Pointer, wide

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
FORMATS = re.compile(r"fp(?:8_e4m3|4_e2m1)")


def codes(numbers):
    """e2m1 codes of fp32: to the nearest, to the even one where two are as near, saturated."""
    sizes, found = E2M1[:8], np.abs(numbers)
    middles = (sizes[1:] + sizes[:-1]) / 2
    code = np.searchsorted(middles, found)
    tie = found == middles[np.minimum(code, 6)]
    code += tie & (code % 2 == 1)
    return (np.minimum(code, 7) | np.signbit(numbers) << 3).astype(np.uint8)


def bytes_of(numbers):
    """e4m3 bytes of fp32; what is too large is NaN, as without the mode that saturates."""
    return torch.from_numpy(np.array(numbers)).to(torch.float8_e4m3fn).view(torch.uint8).numpy()


def elements(block, values, kind):
    """(threads, 32): what a lane would hold of an operand if each held the k's of its scale."""
    bits = np.ascontiguousarray(np.broadcast_to(values, (block.threads, values.shape[1])))
    bits = bits.view(np.uint8)
    if kind == "fp4_e2m1":
        return E2M1[np.stack([bits & 15, bits >> 4], -1).reshape(block.threads, -1)]
    # (waves, groups of lanes, rows, halves, 16) to (waves, rows, halves x groups x 16).
    found = wide(bits, "f8E4M3FN").reshape(-1, 4, 16, 2, 16).transpose(0, 2, 3, 1, 4)
    return found.reshape(-1, 16, 4, 32).transpose(0, 2, 1, 3).reshape(block.threads, 32)


def multiply(program, op):
    kinds = FORMATS.findall(f"{op.attributes['cbsz']} {op.attributes['blgp']}")
    selected = [ir.IntegerAttr(op.attributes[f"opsel{side}"]).value for side in "AB"]

    def function(a, b, c, *scales):
        block, operands = program.block, []
        for values, kind, scale, byte in zip((a, b), kinds, scales, selected, strict=True):
            exponent = np.broadcast_to(scale, block.threads).astype(np.int64) >> 8 * byte & 255
            power = np.where(exponent == 255, np.nan, np.exp2(exponent - 127.0))
            operands.append(elements(block, values, kind) * power[:, None])
        return block.multiply(16, 16, *operands, c)

    return function


def to_fp8(program, op):
    high = bool(ir.BoolAttr(op.attributes["dstLoHiSel"]).value)

    def function(old, first, second, scale):
        given = np.broadcast_arrays(first / scale, second / scale)
        pair = np.stack([bytes_of(each) for each in given], -1).view(np.int16)[:, 0]
        found = np.array(np.broadcast_to(old, (len(pair), 2)))
        found[:, int(high)] = pair
        return found

    return function


def to_fp4(program, op):
    byte = ir.IntegerAttr(op.attributes["dstSelIndex"]).value

    def function(old, first, second, scale):
        low, high = (codes(each / scale).astype(np.int32) for each in (first, second))
        return old & ~(255 << 8 * byte) | (low | high << 4) << 8 * byte

    return function


def moved(program, op):
    numbers = interpret.OPERATIONS["arith.addi"](program, op)

    def function(a, b):
        if isinstance(a, Pointer):
            return a.moved(b)
        return b.moved(a) if isinstance(b, Pointer) else numbers(a, b)

    return function


def same(program, op):
    def function(given):
        if not isinstance(given, Pointer):
            raise Fault("an address that is not a tensor's")
        return given

    return function


def grid(program, op):
    axis = "xyz".index(str(op.attributes["dimension"])[-2])
    return lambda: np.array([program.block.grid[axis]])


ADDED = {
    "gpu.grid_dim": grid,
    "rocdl.mfma.scale.f32.16x16x128.f8f6f4": multiply,
    "rocdl.cvt.scalef32.pk.fp8.f32": to_fp8,
    "rocdl.cvt.scalef32.pk.fp4.f32": to_fp4,
    "arith.addi": moved,
    "llvm.inttoptr": same,
}


class Scaled(interpret.Program):
    """A program that knows the operations of this module besides."""

    def operation(self, op):
        return ADDED[op.name](self, op) if op.name in ADDED else super().operation(op)


def run(text, arch, arguments):
    """As `interpret.run`."""
    return interpret.run(text, arch, arguments, Scaled)
