"""The kernels."""

import triton
import triton.language as tl


@triton.jit
def matmul(a, b, c, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """c = a @ b, row-major: (M, K) @ (K, N) -> (M, N)."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    inner = tl.arange(0, BK)
    total = tl.zeros((BM, BN), dtype=tl.float32)
    for start in range(0, K, BK):
        left = a + rows[:, None] * K + (start + inner)[None, :]
        right = b + (start + inner)[:, None] * N + columns[None, :]
        inside = start + inner < K
        total += tl.dot(
            tl.load(left, mask=(rows < M)[:, None] & inside[None, :], other=0.0),
            tl.load(right, mask=inside[:, None] & (columns < N)[None, :], other=0.0),
        )
    kept = (rows < M)[:, None] & (columns < N)[None, :]
    tl.store(c + rows[:, None] * N + columns[None, :], total, mask=kept)


@triton.jit
def scale(x, out, bias, factor, n, BLOCK: tl.constexpr):
    """out = x * factor, plus bias where there is one."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + at, mask=at < n) * factor
    if bias is not None:
        value += tl.load(bias + at, mask=at < n)
    tl.store(out + at, value, mask=at < n)
