"""What an operation on numbers does: ARITHMETIC, in the form of `operations.py`."""

import operator
import re

import numpy as np
from flydsl._mlir import ir

from tests.kernels.flydsl.machine import STORED, Pointer, narrow, wide

VECTOR = re.compile(r"vector<(\d+)x([^>]*)>")


def kind(of):
    """(elements or None, type of one) of a value's type."""
    found = VECTOR.fullmatch(str(of))
    return (int(found[1]), found[2]) if found else (None, str(of))


def constant(program, op):
    many, of = kind(op.results[0].type)
    text = str(op.attributes["value"]).split(" : ")[0].replace("dense<", "").removesuffix(">")
    numbers = [scalar(each, of) for each in text.strip("[]").split(", ")]
    found = np.array(numbers if many else numbers[0])
    # The types of constants that bit patterns stand for are wide: they are rounded here.
    found = narrow(found.astype(np.float32), of) if of in ("bf16", "f16") else found
    found = found.astype(STORED[of])
    found = np.broadcast_to(found, (1, many)) if many else found.reshape(1)
    return lambda: found


def scalar(text, of):
    if text in ("true", "false"):
        return text == "true"
    if text.startswith("0x") and of == "f32":
        return np.uint32(int(text, 16)).view(np.float32)
    if text.startswith("0x") and of == "bf16":
        return wide(np.uint16(int(text, 16)), of)
    return float(text) if of[0] in "fb" else int(text)


def typed(function):
    """Of numbers: computed as fp32 if they are shorter floats, and rounded to the result's type."""

    def prepare(program, op):
        of = kind(op.operands[0].type)[1]
        _, to = kind(op.results[0].type)
        if of in ("bf16", "f16") or to in ("bf16", "f16"):
            return lambda *given: narrow(function(*(wide(v, of) for v in given)), to)
        return lambda *given: function(*given).astype(STORED[to], copy=False)

    return prepare


def unsigned(function):
    def prepare(program, op):
        to = STORED[kind(op.results[0].type)[1]]
        as_unsigned = f"u{np.dtype(STORED[kind(op.operands[0].type)[1]]).itemsize}"
        return lambda *given: function(*(v.view(as_unsigned) for v in given)).astype(to)

    return prepare


def divided(a, b):
    """Towards zero, exactly."""
    found = np.abs(a) // np.maximum(np.abs(b), 1)
    return np.where((a < 0) != (b < 0), -found, found)


COMPARE = (
    operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge,
    operator.lt, operator.le, operator.gt, operator.ge,
)  # fmt: skip


def compare_integers(program, op):
    which = ir.IntegerAttr(op.attributes["predicate"]).value
    function = COMPARE[which]
    if which < 6:
        return function
    as_unsigned = f"u{np.dtype(STORED[kind(op.operands[0].type)[1]]).itemsize}"
    return lambda a, b: function(a.view(as_unsigned), b.view(as_unsigned))


def compare_floats(program, op):
    order = (None, operator.eq, operator.gt, operator.ge, operator.lt, operator.le)
    which, of = ir.IntegerAttr(op.attributes["predicate"]).value, kind(op.operands[0].type)[1]
    return lambda a, b: order[which](wide(a, of), wide(b, of))


def cast_bits(program, op):
    many, to = kind(op.results[0].type)

    def function(given):
        if isinstance(given, Pointer):
            return given
        found = np.ascontiguousarray(given.reshape(len(given), -1)).view(STORED[to])
        return found if many else found[:, 0]

    return function


def select(program, op):
    def function(where, yes, no):
        if where.ndim < np.ndim(yes):
            where = where[:, None]
        return np.where(where, yes, no)

    return function


FLOATS = {
    "addf": np.add, "subf": np.subtract, "mulf": np.multiply, "divf": np.divide,
    "maximumf": np.maximum, "minimumf": np.minimum, "maxnumf": np.fmax, "minnumf": np.fmin,
    "negf": np.negative, "extf": np.asarray, "truncf": np.asarray, "sitofp": np.float32,
    "fptosi": np.trunc, "remf": np.fmod,
}  # fmt: skip
INTEGERS = {
    "addi": np.add, "subi": np.subtract, "muli": np.multiply, "andi": np.bitwise_and,
    "ori": np.bitwise_or, "xori": np.bitwise_xor, "shli": np.left_shift, "shrsi": np.right_shift,
    "divsi": divided, "remsi": lambda a, b: a - b * divided(a, b), "floordivsi": np.floor_divide,
    "ceildivsi": lambda a, b: -(-a // b), "minsi": np.minimum, "maxsi": np.maximum,
    "extsi": np.asarray, "trunci": np.asarray, "index_cast": np.asarray,
}  # fmt: skip
NATURALS = {
    "divui": np.floor_divide, "remui": np.mod, "shrui": np.right_shift, "minui": np.minimum,
    "maxui": np.maximum, "extui": np.asarray, "index_castui": np.asarray,
    "ceildivui": lambda a, b: -(-a // b), "uitofp": np.asarray,
}  # fmt: skip
MATH = {
    "math.exp": np.exp, "math.exp2": np.exp2, "rocdl.exp2": np.exp2, "math.log2": np.log2,
    "rocdl.rcp": np.reciprocal, "math.rsqrt": lambda x: 1 / np.sqrt(x), "math.sqrt": np.sqrt,
    "math.absf": np.abs, "math.fma": lambda a, b, c: a * b + c, "math.tanh": np.tanh,
}  # fmt: skip
ARITHMETIC = {
    **{f"arith.{name}": typed(of) for name, of in (FLOATS | INTEGERS).items()},
    **{f"arith.{name}": unsigned(of) for name, of in NATURALS.items()},
    **{name: typed(of) for name, of in MATH.items()},
    "arith.cmpi": compare_integers, "arith.cmpf": compare_floats, "arith.select": select,
    "arith.constant": constant, "llvm.mlir.constant": constant, "arith.bitcast": cast_bits,
    "llvm.bitcast": cast_bits, "vector.bitcast": cast_bits, "vector.shape_cast": cast_bits,
}  # fmt: skip
