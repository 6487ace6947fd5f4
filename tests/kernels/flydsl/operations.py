"""What an operation of a lowered kernel does: OPERATIONS.

Each entry prepares one: `entry(program, operation)` gives a function of the values that the
operation takes, which gives its result, or a list of them. `program.block` is the block that runs.
"""

import math

import numpy as np
from flydsl._mlir import ir

from tests.kernels.flydsl.arithmetic import ARITHMETIC, kind
from tests.kernels.flydsl.machine import STORED, Buffer, Fault, Pointer


def one(found):
    """A number that is the same in all threads."""
    found = np.unique(found)
    if len(found) != 1:
        raise Fault("threads do not agree")
    return found[0].item()


# Control flow


def loop(program, op):
    (body,) = op.regions[0].blocks
    slots = [program.slot(each) for each in body.arguments]
    execute, of = program.prepared(body), STORED[kind(op.operands[0].type)[1]]

    def function(start, stop, step, *carried):
        for number in range(one(start), one(stop), one(step)):
            for place, each in zip(slots, (np.array([number], of), *carried), strict=True):
                program.values[place] = each
            carried = execute()
        return carried[0] if len(carried) == 1 else carried

    return function


def branch(program, op):
    ways = [program.prepared(r.blocks[0]) if len(r.blocks) else list for r in op.regions]

    def function(condition):
        block = program.block
        if len(np.unique(condition)) == 1:
            found = ways[0 if condition[0] else 1]()
            return found[0] if len(found) == 1 else found
        every, results = block.active, []
        for way, mask in zip(ways, (condition, ~condition), strict=True):
            block.active = every & mask
            results.append(way())
        block.active = every
        shaped = [condition if np.ndim(v) < 2 else condition[:, None] for v in results[0]]
        found = [np.where(w, *pair) for w, *pair in zip(shaped, *results, strict=True)]
        return found[0] if len(found) == 1 else found

    return function


def launch(program, op):
    name = str(op.attributes["kernel"]).split("::@")[-1]
    tokens = ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"])
    first = tokens[0]

    def function(*given):
        sizes = [one(each) for each in given[first : first + 6]]
        count = tokens[len(tokens) - 2]
        end = len(given) - tokens[len(tokens) - 1]
        program.launch(name, tuple(sizes[:3]), math.prod(sizes[3:]), given[end - count : end])

    return function


# Memory


def gep(program, op):
    size = np.dtype(STORED[str(op.attributes["elem_type"])]).itemsize
    fixed = list(ir.DenseI32ArrayAttr(op.attributes["rawConstantIndices"]))

    def function(pointer, *indices):
        by = indices[0].astype(np.int64) if indices else fixed[0]
        return pointer.moved(by * size)

    return function


def from_bytes(found, of):
    many, one_of = kind(of)
    found = np.ascontiguousarray(found).view(STORED[one_of])
    return found if many else found[:, 0]


def to_bytes(given):
    return np.ascontiguousarray(given.reshape(len(given), -1)).view(np.uint8)


def size_of(of):
    many, one_of = kind(of)
    return (many or 1) * np.dtype(STORED[one_of]).itemsize


def load(program, op):
    of = op.results[0].type
    return lambda pointer: from_bytes(program.block.read(pointer, size_of(of)), of)


def store(program, op):
    return lambda given, pointer: program.block.write(pointer, to_bytes(given))


def buffer_load(program, op):
    of, size = op.results[0].type, size_of(op.results[0].type)

    def function(buffer, offset, further, *_):
        block = program.block
        block.issued += 1
        places, inside = block.buffer_places(buffer, offset + further, size)
        return from_bytes(block.read(places, size, inside), of)

    return function


def buffer_store(program, op):
    size = size_of(op.operands[0].type)

    def function(given, buffer, offset, further, *_):
        block = program.block
        block.issued += 1
        places, inside = block.buffer_places(buffer, offset + further, size)
        block.write(places, to_bytes(given), inside)

    return function


def buffer_load_lds(program, op):
    """A wave's data lies side by side, from where its first thread points."""

    def function(buffer, pointer, size, offset, further, fixed, *_):
        block, size = program.block, one(size)
        block.issued += 1
        places, inside = block.buffer_places(buffer, offset + further + fixed, size)
        found = block.read(places, size, inside)
        first = np.broadcast_to(pointer.offset, block.threads)[:: block.wave]
        lane = np.arange(block.threads) % block.wave
        to = Pointer(pointer.memory, np.repeat(first, block.wave) + lane * size + one(fixed))
        block.write(to, found, copied=block.issued)

    return function


def address(program, op):
    name = str(op.attributes["global_name"]).lstrip("@")
    return lambda: Pointer(program.block.local, program.symbols[name])


def wait(program, op):
    bits = ir.IntegerAttr(op.attributes["bitfield"]).value
    return lambda: program.block.wait(bits & 15 | bits >> 10 & 48)


# Between threads


def place(program, op):
    axis = "xyz".index(str(op.attributes["dimension"])[-2])
    if op.name == "gpu.block_id":
        return lambda: np.array([program.block.place[axis]])
    return lambda: np.arange(program.block.threads) if axis == 0 else np.array([0])


def first_lane(program, op):
    def function(given):
        block = program.block
        given = np.broadcast_to(given, (block.threads, *given.shape[1:]))
        return np.repeat(given[:: block.wave], block.wave, axis=0)

    return function


def shuffle(program, op):
    how = str(op.attributes["mode"])

    def function(given, by, width):
        lane, width = np.arange(program.block.threads), one(width)
        given = np.broadcast_to(given, lane.shape)
        start, by = lane // width * width, np.broadcast_to(by, lane.shape)
        to = {"xor": lane ^ by, "up": lane - by, "down": lane + by, "idx": start + by}
        found = next(to[name] for name in to if f" {name}>" in how or f"<{name}>" in how)
        valid = (found >= start) & (found < start + width)
        return given[np.where(valid, found, lane)], valid

    return function


def permute(program, op):
    def function(index, given):
        lane = np.arange(program.block.threads)
        wave = program.block.wave
        return np.broadcast_to(given, lane.shape)[lane // wave * wave + index // 4 % wave]

    return function


# Vectors and structs


def position(op, name):
    return list(ir.DenseI64ArrayAttr(op.attributes[name]))


def extracted(program, op):
    (at,) = position(op, "static_position")
    return lambda given, *index: given[:, one(index[0]) if index else at]


def inserted(program, op):
    (at,) = position(op, "static_position")

    def function(item, into, *index):
        threads = max(len(item), len(into))
        found = np.array(np.broadcast_to(into, (threads, into.shape[1])))
        found[:, one(index[0]) if index else at] = item
        return found

    return function


def undefined(program, op):
    many, of = kind(op.results[0].type)
    found = np.zeros((1, many) if many else 1, STORED[of]) if of in STORED else []
    return lambda: found


def from_elements(program, op):
    return lambda *given: np.stack(np.broadcast_arrays(*given), axis=1)


def broadcast(program, op):
    many = kind(op.results[0].type)[0]
    return lambda given: np.broadcast_to(given.reshape(len(given), -1), (len(given), many))


def strided(program, op):
    start = ir.IntegerAttr(ir.ArrayAttr(op.attributes["offsets"])[0]).value
    size = ir.IntegerAttr(ir.ArrayAttr(op.attributes["sizes"])[0]).value
    return lambda given: given[:, start : start + size]


def insert_strided(program, op):
    start = ir.IntegerAttr(ir.ArrayAttr(op.attributes["offsets"])[0]).value

    def function(part, into):
        threads = max(len(part), len(into))
        found = np.array(np.broadcast_to(into, (threads, into.shape[1])))
        found[:, start : start + part.shape[1]] = part
        return found

    return function


def shuffled(program, op):
    mask = position(op, "mask")

    def function(a, b):
        threads = max(len(a), len(b))
        a, b = (np.broadcast_to(v, (threads, v.shape[1])) for v in (a, b))
        return np.concatenate([a, b], axis=1)[:, mask]

    return function


def get_member(program, op):
    at = position(op, "position")

    def function(given):
        for each in at:
            given = given[each]
        return given

    return function


def set_member(program, op):
    (at,) = position(op, "position")

    def function(struct, item):
        found = list(struct) + [None] * (at + 1 - len(struct))
        found[at] = item
        return found

    return function


def plain(function):
    return lambda program, op: function


def buffer_resource(start, stride, size, flags):
    return Buffer(start, one(size))


OPERATIONS = {
    **ARITHMETIC,
    "scf.for": loop, "scf.if": branch, "gpu.launch_func": launch,
    "llvm.getelementptr": gep, "llvm.load": load, "llvm.store": store,
    "llvm.mlir.addressof": address, "rocdl.make.buffer.rsrc": plain(buffer_resource),
    "rocdl.raw.ptr.buffer.load": buffer_load, "rocdl.raw.ptr.buffer.store": buffer_store,
    "rocdl.raw.ptr.buffer.load.lds": buffer_load_lds, "rocdl.s.waitcnt": wait,
    "gpu.barrier": lambda program, op: lambda: program.block.barrier(),
    "gpu.thread_id": place, "gpu.block_id": place, "gpu.shuffle": shuffle,
    "rocdl.readfirstlane": first_lane, "rocdl.ds_bpermute": permute,
    "vector.extract": extracted, "vector.insert": inserted, "vector.from_elements": from_elements,
    "vector.broadcast": broadcast, "vector.splat": broadcast, "vector.shuffle": shuffled,
    "vector.extract_strided_slice": strided, "vector.insert_strided_slice": insert_strided,
    "ub.poison": undefined, "llvm.mlir.undef": undefined,
    "llvm.mlir.poison": undefined, "llvm.extractvalue": get_member, "llvm.insertvalue": set_member,
}  # fmt: skip
