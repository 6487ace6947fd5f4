"""Small kernels whose results are known, through all of FlyDSL's layouts: they are there to see
that `interpret.py` runs what FlyDSL means.
"""

import functools
import tempfile

import flydsl.compiler as flyc
import flydsl.expr as fx
import torch

from tests.kernels.flydsl import interpret

ARCH, THREADS = "gfx942", 128


@flyc.kernel
def scaled_sum(x: fx.Pointer, y: fx.Pointer, z: fx.Pointer, size: fx.Int32):
    place = fx.block_idx.x * THREADS + fx.thread_idx.x
    if place < size:
        value = fx.add_offset(x, place).load() * 2.0
        if place % 3 == 0:
            value = value + fx.add_offset(y, place).load()
        fx.add_offset(z, place).store(value)


@flyc.jit
def add(x: fx.Pointer, y: fx.Pointer, z: fx.Pointer, size: fx.Int32, stream: fx.Stream):
    blocks = (size + THREADS - 1) // THREADS
    scaled_sum(x, y, z, size).launch(grid=(blocks, 1, 1), block=(THREADS, 1, 1), stream=stream)


@flyc.kernel
def multiplied(a: fx.Tensor, b: fx.Tensor, c: fx.Tensor, tiled: fx.TiledMma):
    buffers = [fx.rocdl.make_buffer_tensor(each) for each in (a, b, c)]
    sizes = ((32, 8), (32, 8), (32, 32))
    tiles = [
        fx.flat_divide(each, size)[None, None, 0, 0]
        for each, size in zip(buffers, sizes, strict=True)
    ]
    part, atom = (
        tiled.thr_slice(fx.thread_idx.x),
        fx.make_copy_atom(fx.rocdl.BufferCopy32b(), fx.Float32),
    )
    left, right, sums = (
        part.make_fragment_A(tiles[0]), part.make_fragment_B(tiles[1]),
        part.make_fragment_C(tiles[2]),
    )  # fmt: skip
    a_copy = fx.make_tiled_copy_A(atom, tiled).get_slice(fx.thread_idx.x)
    b_copy = fx.make_tiled_copy_B(atom, tiled).get_slice(fx.thread_idx.x)
    c_copy = fx.make_tiled_copy_C(atom, tiled).get_slice(fx.thread_idx.x)
    fx.copy(atom, a_copy.partition_S(tiles[0]), a_copy.retile(left))
    fx.copy(atom, b_copy.partition_S(tiles[1]), b_copy.retile(right))
    sums.fill(0)
    fx.gemm(tiled, sums, left, right, sums)
    fx.copy(atom, c_copy.retile(sums), c_copy.partition_S(tiles[2]))


@flyc.jit
def matmul(a: fx.Tensor, b: fx.Tensor, c: fx.Tensor, stream: fx.Stream):
    atom = fx.make_mma_atom(fx.rocdl.MFMA(16, 16, 4, fx.Float32))
    tiled = fx.make_tiled_mma(atom, fx.make_layout((2, 2, 1), (1, 2, 0)))
    multiplied(a, b, c, tiled).launch(grid=(1, 1, 1), block=(256, 1, 1), stream=stream)


def run(name, size):
    """{"worst": the largest error of an example}."""
    return {"sum": run_sum, "matmul": run_matmul}[name](size)


@functools.cache
def lowered(name):
    """FlyDSL lowers a launch once: it takes the target to stay the same."""
    pointers = [flyc.from_c_void_p(fx.Float32, 0)] * 3
    tensors = torch.empty(32, 8), torch.empty(32, 8), torch.empty(32, 32)
    with tempfile.TemporaryDirectory() as folder:
        with interpret.lowering(ARCH, folder):
            if name == "sum":
                add(*pointers, 1, fx.Stream(0))
            else:
                matmul(*tensors, fx.Stream(0))
        return interpret.newest(folder)


def run_sum(size):
    x, y, z = torch.randn(size), torch.randn(size), torch.full((size,), float("nan"))
    interpret.run(lowered("sum"), ARCH, [x.numpy(), y.numpy(), z.numpy(), size, None])
    exact = 2 * x + torch.where(torch.arange(size) % 3 == 0, y, 0)
    return {"worst": (z - exact).abs().nan_to_num(nan=1e30).max().item()}


def run_matmul(size):
    a, b, c = torch.randn(size, 8), torch.randn(size, 8), torch.full((size, size), float("nan"))
    arguments = [part for each in (a, b, c) for part in (each.numpy(), layout(each))]
    interpret.run(lowered("matmul"), ARCH, [*arguments, None])
    return {"worst": (c - a @ b.t()).abs().nan_to_num(nan=1e30).max().item()}


def layout(tensor):
    """As a launch takes it: all sizes, and the strides but that which is 1."""
    return tuple(tensor.shape), (tensor.stride(0),)
