"""Memory as the kernels here see it: buffers of bytes in global memory, words in local memory.

Loads past a buffer's end give 0, stores past it are dropped: so rows that are padding are read and
written without a branch. Offsets are bytes and below 4 GiB, as the hardware counts them.

FlyDSL's key of a kernel holds the sources of plain functions that it reaches from a launch, but
not those of methods: hence there are none here.
"""

# mypy: ignore-errors
# FlyDSL's language, in Python's syntax.

import flydsl.expr as fx
from flydsl._mlir import ir

from aot_kernels.flydsl.tile import CHUNK

FAR = 1 << 30
"""An offset beyond every buffer that is less than 1 GiB: what lies there reads as 0."""
FLAGS = {"gfx9": 0x27000, "gfx1": 0x31027000}
"""Of a buffer: 32-bit data, and for gfx1250 checked by its size in bytes."""


def buffer(arch, pointer, start, size):
    """A buffer of `size` bytes, `start` bytes behind a pointer to bytes."""
    at = fx.to_llvm_ptr(fx.add_offset(pointer, fx.Int64(start)))
    numbers = (fx.Int16(0), fx.Int64(size), fx.Int32(FLAGS[arch[:4]]))
    kind = ir.Type.parse("!llvm.ptr<8>")
    return fx.rocdl.make_buffer_rsrc(kind, at, *(number.ir_value() for number in numbers))


def load(source, offset, words, policy=0):
    """Neighbouring 32-bit words of a buffer, or the only one.

    `policy` is the instruction's cache policy (2: not temporal).
    """
    kind = fx.Vector.make_type(words, fx.Int32) if words > 1 else fx.Int32.ir_type
    found = fx.rocdl.raw_ptr_buffer_load(kind, source, *_place(offset), aux=_number(policy))
    return fx.Vector(found, words, fx.Int32) if words > 1 else fx.Int32(found)


def store(value, target, offset):
    """A number, or neighbours of at least 4 bytes, into a buffer; 16 bytes at once at most."""
    parts = [value]
    if isinstance(value, fx.Vector):
        run = CHUNK * 8 // value.dtype.width
        starts = range(0, value.numel, run)
        parts = [part_of(value, at, min(value.numel - at, run)).bitcast(fx.Int32) for at in starts]
    for number, part in enumerate(parts):
        where = _place(offset + number * CHUNK)
        fx.rocdl.raw_ptr_buffer_store(part.ir_value(), target, *where, aux=_number(0))


def _place(offset):
    return fx.Int32(offset).ir_value(), fx.Int32(0).ir_value()


def _number(value):
    return ir.IntegerAttr.get(fx.Int32.ir_type, value)


def run_of(source, number, count, kind):
    """`count` neighbours of a buffer's elements, from one of them on, as fp32."""
    size = kind.width // 8
    words = count * size // 4
    found = [load(source, number * size + at * 4, min(words - at, 4)) for at in range(0, words, 4)]
    both = found[0].shuffle(found[1], list(range(words))) if len(found) > 1 else found[0]
    vector = both.bitcast(kind)
    return vector if kind is fx.Float32 else vector.to(fx.Float32)


def one_of(source, number):
    """One fp32 of a buffer."""
    return load(source, number * 4, 1).bitcast(fx.Float32)


def shared(size):
    """Local memory of a block: a pointer to that many bytes, a multiple of 16."""
    return fx.SharedAllocator().allocate(fx.Array[fx.Int32, size // 4, CHUNK]).peek().ptr


def word(local, at):
    """A pointer into local memory, `at` bytes behind its start, a multiple of 16."""
    kind = fx.PointerType.get(fx.Int32.ir_type, fx.AddressSpace.Shared, CHUNK)
    return fx.recast_iter(kind, fx.add_offset(local, fx.Int32(at) // 4))


def put(local, at, words):
    """Write neighbouring words to local memory, `at` bytes behind its start."""
    fx.ptr_store(words.ir_value(), word(local, at))


def get(local, at, count=4):
    """Read neighbouring words of local memory."""
    kind = fx.Vector.make_type(count, fx.Int32)
    return fx.Vector(fx.ptr_load(word(local, at), kind), count, fx.Int32)


def part_of(vector, start, count):
    """Some neighbours of a vector."""
    if count == vector.numel:
        return vector
    return vector.shuffle(vector, list(range(start, start + count)))


def smaller(a, b):
    """The smaller of two numbers."""
    a, b = fx.Int32(a), fx.Int32(b)
    return (a < b).select(a, b)


def uniform(value):
    """A 32-bit integer that all lanes of a wave have alike, told to the compiler."""
    return fx.Int32(fx.rocdl.readfirstlane(fx.Int32.ir_type, fx.Int32(value).ir_value()))
