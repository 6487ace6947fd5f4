# mypy: ignore-errors
"""Memory as FlyDSL kernels see it here: buffers in bytes, which answer 0 past their end, and LDS.

All functions are straight-line code for use inside a `@flyc.kernel`; offsets are bytes and below
4 GiB, as the hardware counts them.
"""

import flydsl.expr as fx
from flydsl._mlir import ir
from flydsl.expr import rocdl
from flydsl.expr.typing import T


def buffer(address, size):
    """A buffer resource over `size` bytes at an address, both 64-bit integers.

    Loads past the end give 0, stores past it are dropped: that is how rows that are padding are
    read and written without a branch.
    """
    kind = fx.PointerType.get(T.i8, address_space=fx.AddressSpace.Global, alignment=16)
    pointer = fx.inttoptr(kind, fx.Int64(address))
    return rocdl.get_buffer_rsrc(rocdl.make_buffer_ptr(pointer, fx.Int64(size)))


def load(words, source, offset, policy=0):
    """A vector of 32-bit words; `policy` is the instruction's cache policy (2: not temporal)."""
    kind = T.vec(words, T.i32) if words > 1 else T.i32
    found = rocdl.raw_ptr_buffer_load(kind, source, *_place(offset), aux=_number(policy))
    return fx.Vector(found) if words > 1 else fx.Int32(found)


def store(value, target, offset):
    """Store a vector or a scalar of 1 to 16 bytes."""
    rocdl.raw_ptr_buffer_store(value.ir_value(), target, *_place(offset), aux=_number(0))


def _place(offset):
    return fx.Int32(offset).ir_value(), fx.Int32(0).ir_value()


def _number(value):
    return ir.IntegerAttr.get(T.i32, value)


def shared(size):
    """LDS of a block: a pointer to that many bytes, aligned to 16."""
    return fx.recast_iter(fx.Int32, fx.SharedAllocator().allocate(size, 16).peek().ptr)


def put(pointer, offset, words):
    """Write 16 bytes to LDS."""
    fx.ptr_store(words.ir_value(), pointer + fx.Int32(offset) // 4)


def get(pointer, offset):
    """Read 16 bytes from LDS, as four 32-bit words."""
    return fx.Vector(fx.ptr_load(pointer + fx.Int32(offset) // 4, result_type=T.vec(4, T.i32)))


def uniform(value):
    """A 32-bit integer that all lanes of a wave have alike, told to the compiler."""
    return fx.Int32(rocdl.readfirstlane(T.i32, fx.Int32(value).ir_value()))
