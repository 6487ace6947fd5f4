"""Runs on the CPU what FlyDSL lowered a launch to, as `machine.py` says what a GPU does.

    with interpret.lowering(arch, folder):       # nothing is compiled for a device's sake
        launch(...)                              # a @flyc.jit function
    interpret.run(interpret.newest(folder), arch, [array, 17, array, ...])

`run` takes one value for each argument of the launch: a numpy array for a pointer or for the
memory of a tensor, numbers, ((sizes), (strides)) for the layout that follows a tensor's memory,
None for a stream. Arrays are written in place. The kernels of a launch run one after the other,
and so do their blocks; `run` returns how often each operation ran.

What is run is the last form before the target's own dialect takes over: `arith`, `scf`,
`vector`, `llvm`, `gpu`, `rocdl`. An operation that is missing here is an error with its name;
each is one entry of OPERATIONS in `operations.py`.
"""

import collections
import contextlib
import os
import re
from pathlib import Path

import numpy as np
from flydsl._mlir import ir

from aot_build.toolchains.rocm import find_rocm, lay_out
from tests.kernels.flydsl.machine import Block, Fault, Memory, Pointer, matrix
from tests.kernels.flydsl.operations import OPERATIONS

STAGE = re.compile(r"(\d+)_canonicalize\.mlir")


@contextlib.contextmanager
def lowering(arch, folder):
    """While it lasts, launches leave the forms that they go through in a folder, and do not run."""
    ours = {
        "ARCH": arch, "FLYDSL_GPU_ARCH": arch, "COMPILE_ONLY": "1", "FLYDSL_DUMP_IR": "1",
        "FLYDSL_DUMP_DIR": str(folder), "FLYDSL_RUNTIME_CACHE_DIR": str(Path(folder) / "cache"),
        "ROCM_PATH": rocm(Path(folder) / "rocm"),
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def rocm(folder):
    """A folder with what FlyDSL needs of ROCm, below `folder` unless there is a whole one."""
    return lay_out(find_rocm(os.environ), folder)


def newest(folder):
    """The text of the last launch's last form that can be run."""
    found = [path for path in Path(folder).rglob("*.mlir") if STAGE.fullmatch(path.name)]
    last = max(found, key=lambda path: (path.parent.stat().st_mtime_ns, path.name))
    return last.read_text(encoding="utf-8")


def value(given):
    if isinstance(given, np.ndarray):
        return Pointer(Memory(given.reshape(-1).view(np.uint8)), 0)
    if isinstance(given, int | float):
        return np.array([given], np.int32 if isinstance(given, int) else np.float32)
    return [value(each) for each in given] if isinstance(given, tuple | list) else given


class Program:
    """A module of kernels. Values lie in a list; an operation is prepared once, run often."""

    def __init__(self, arch, device):
        self.arch, self.values, self.slots = arch, [], {}
        self.block, self.counts, self.symbols = None, collections.Counter(), {}
        self.kernels, at = {}, 0
        for op in (op.operation for op in device.regions[0].blocks[0]):
            name = ir.StringAttr(op.attributes["sym_name"]).value
            if op.name == "gpu.func":
                self.kernels[name] = op
            elif op.name == "llvm.mlir.global":
                size = re.search(r"(\d+) x i8", str(op.attributes["global_type"]))
                self.symbols[name] = at = -(-at // 16) * 16
                at += int(size[1]) if size else 0
        self.local = at

    def slot(self, of):
        if of not in self.slots:
            self.slots[of] = len(self.values)
            self.values.append(None)
        return self.slots[of]

    def prepared(self, block):
        """What runs a block, and gives what its last operation takes."""
        steps, last = [], []
        for op in (op.operation for op in block):
            inputs = [self.slot(each) for each in op.operands]
            if op.name in ("scf.yield", "gpu.return", "func.return"):
                last = inputs
                break
            steps.append((op.name, self.operation(op), inputs, [self.slot(r) for r in op.results]))
        values, counts = self.values, self.counts

        def execute():
            for name, function, inputs, outputs in steps:
                counts[name] += 1
                try:
                    found = function(*[values[place] for place in inputs])
                except Fault as error:
                    raise Fault(f"{name}: {error}") from None
                if len(outputs) == 1:
                    values[outputs[0]] = found
                elif outputs:
                    for place, each in zip(outputs, found, strict=True):
                        values[place] = each
            return [values[place] for place in last]

        return execute

    def operation(self, op):
        multiply = matrix(lambda: self.block, op.name)
        if multiply:
            return multiply
        for prefix in ("fly.make_", "rocdl.sched.", "llvm.intr.assume", "rocdl.s.setprio"):
            if op.name.startswith(prefix):
                return lambda *_: None
        if op.name not in OPERATIONS:
            raise NotImplementedError(f"{op.name} is not in OPERATIONS: {op}")
        return OPERATIONS[op.name](self, op)

    def host(self, function, arguments):
        (body,) = function.regions[0].blocks
        for argument, given in zip(body.arguments, arguments, strict=True):
            self.values[self.slot(argument)] = value(given)
        with np.errstate(over="ignore", invalid="ignore"):
            self.prepared(body)()
        return self.counts

    def launch(self, name, grid, threads, arguments):
        kernel = self.kernels[name]
        (body,) = kernel.regions[0].blocks
        for argument, given in zip(body.arguments, arguments, strict=True):
            self.values[self.slot(argument)] = given
        execute, wave = (
            self.prepared(body),
            32 if self.arch >= "gfx1" and len(self.arch) > 6 else 64,
        )
        for place in np.ndindex(*grid[::-1]):
            self.block = Block(threads, wave, self.arch, place[::-1], grid)
            # Whoever reads what nobody wrote shall notice.
            self.block.local.bytes.fill(0xFF)
            execute()


def run(text, arch, arguments, kind=Program):
    """Run every kernel that a launch starts; see above. `kind` knows the operations."""
    with ir.Context() as ctx:
        ctx.allow_unregistered_dialects = True
        module = ir.Module.parse(text)
        top = [op.operation for op in module.body.operations]
        (host,) = (op for op in top if op.name == "func.func")
        (device,) = (op for op in top if op.name == "gpu.module")
        return kind(arch, device).host(host, arguments)
