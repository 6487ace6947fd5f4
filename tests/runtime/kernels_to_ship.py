"""Triton functions that the tests ship; copied into a package as `kern.py`."""

import triton
import triton.language as tl

root = tl.math.sqrt


@triton.jit
def rooted(x):
    return root(x)


@triton.jit
def twice(x):
    return x * 2


@triton.jit
def thrice(x):
    return x * 3


@triton.jit
def scale(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, twice(tl.load(x + at, mask=at < n)), mask=at < n)


@triton.jit
def apply(x, n, change: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + at, change(tl.load(x + at, mask=at < n)), mask=at < n)


@triton.autotune(
    [triton.Config({"BLOCK": b}, num_warps=w) for b, w in [(64, 1), (128, 2), (256, 4)]], ["n"]
)
@triton.heuristics({"EVEN": lambda args: args["n"] % 16 == 0})
@triton.jit
def tuned(x, n, EVEN: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if EVEN:
        tl.store(x + at, 1)
    else:
        tl.store(x + at, 1, mask=at < n)


@triton.jit
def unshipped(x, BLOCK: tl.constexpr):
    tl.store(x + tl.arange(0, BLOCK), 0)
