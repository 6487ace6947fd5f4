"""A kernel of one wave, and functions that compile it, or that go wrong in doing so."""

import contextlib
import os
import sys
from pathlib import Path

import flydsl.compiler as flyc
import flydsl.expr as fx
import torch
from flydsl.compiler.extern_link import link_extern
from flydsl.expr.extern import ffi

SIZE = 64
SCALE = 2


@flyc.kernel
def copy_kernel(A: fx.Tensor, B: fx.Tensor, n: fx.Constexpr[int], function: fx.Constexpr[str]):
    thread = fx.thread_idx.x
    wide = fx.make_layout(1, 1)
    source = fx.logical_divide(fx.rocdl.make_buffer_tensor(A), wide)
    target = fx.logical_divide(fx.rocdl.make_buffer_tensor(B), wide)
    value = fx.make_rmem_tensor(1, fx.Float32)
    atom = fx.make_copy_atom(fx.rocdl.BufferCopy32b(), fx.Float32)
    fx.copy_atom_call(atom, fx.slice(source, (None, thread)), value)
    found = fx.memref_load_vec(value)
    # Scale it.
    fx.memref_store_vec(getattr(fx.math, function)(found) if function else found * n, value)
    fx.copy_atom_call(atom, value, fx.slice(target, (None, thread)))


@flyc.jit
def copy(A: fx.Tensor, B: fx.Tensor, n: fx.Constexpr[int], function: fx.Constexpr[str]):
    copy_kernel(A, B, n, function).launch(grid=(1, 1, 1), block=(SIZE, 1, 1))


@flyc.kernel
def linking_kernel(bitcode: fx.Constexpr[str]):
    answer = ffi("__ocml_erf_f32", ["float32"], "float32")
    link_extern(answer, bitcode_path=bitcode)(fx.Float32(1.0))


@flyc.jit
def linking(bitcode: fx.Constexpr[str]):
    linking_kernel(bitcode).launch(grid=(1, 1, 1), block=(SIZE, 1, 1))


def compile_copy(out_dir, target, n, function=""):
    copy(torch.zeros(SIZE), torch.zeros(SIZE), SCALE * n, function)


def nothing(out_dir, target):
    """Launches none."""


def passes_over(out_dir, target):
    with contextlib.suppress(Exception):
        compile_copy(out_dir, target, 3, "no_such_function")


def links(out_dir, target):
    linking(os.environ["ROCM_PATH"] + "/amdgcn/bitcode/ocml.bc")


def elsewhere(out_dir, target):
    os.environ["FLYDSL_RUNTIME_CACHE_DIR"] = os.environ["TMPDIR"] + "/mine"
    compile_copy(out_dir, target, 5)


def another_gpu(out_dir, target):
    os.environ["ARCH"] = "gfx90a"
    compile_copy(out_dir, target, 5)


def another_gpu_meanwhile(out_dir, target):
    given = os.environ["ARCH"]
    os.environ["ARCH"] = "gfx950"
    compile_copy(out_dir, target, 5)
    os.environ["ARCH"] = given


def cannot_write(out_dir, target):
    def no(*args, **options):
        raise OSError("no room")

    sys.modules["flydsl.compiler.jit_function"].JitCacheManager._write_cache_file = no
    sys.modules["pickle"].dump = no
    compile_copy(out_dir, target, 5)


def forges(out_dir, target):
    compile_copy(out_dir, target, 5)
    folder = Path(out_dir, f"other_{'0' * 32}")
    folder.mkdir()
    Path(folder, f"{'0' * 16}.pkl").write_bytes(b"no pickle")


def empties(out_dir, target):
    compile_copy(out_dir, target, 5)
    for entry in Path(out_dir).glob("*/*.pkl"):
        entry.write_bytes(b"")


def aborts(out_dir, target):
    os.write(2, b"LLVM ERROR: Cannot select: t1\n")
    os.abort()


def works(out_dir, target):
    compile_copy(out_dir, target, 5)
    compile_copy(out_dir, target, 7)
