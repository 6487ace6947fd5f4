"""The kernels and the rule by which they are launched."""

import torch
import triton
import triton.language as tl

DTYPES = {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16, torch.float32: tl.float32}
ONE_PASS = 4096
"""The widest row that one program reads at once."""


@triton.jit
def _stored(out, rows, total, row, DTYPE: tl.constexpr):
    tl.store(out + row, total.to(DTYPE), mask=row < rows)


@triton.autotune(
    configs=[triton.Config({"ROWS": r}, num_warps=w) for r in (4, 8) for w in (2, 4)],
    key=["columns"],
)
@triton.heuristics({"EVEN": lambda arguments: arguments["columns"] % arguments["BLOCK"] == 0})
@triton.jit
def narrow(x, out, rows, columns, stride, DTYPE: tl.constexpr, ROWS: tl.constexpr,
           BLOCK: tl.constexpr, EVEN: tl.constexpr):  # fmt: skip
    """Several whole rows a program."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    inside = (row < rows)[:, None]
    if not EVEN:
        inside &= (column < columns)[None, :]
    values = tl.load(x + row[:, None] * stride + column[None, :], mask=inside, other=0.0)
    _stored(out, rows, tl.sum(values.to(tl.float32), axis=1), row, DTYPE)


@triton.jit
def wide(x, out, columns, stride, DTYPE: tl.constexpr, BLOCK: tl.constexpr):
    """One row a program, block by block."""
    row = tl.program_id(0)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, columns, BLOCK):
        column = start + tl.arange(0, BLOCK)
        values = tl.load(x + row * stride + column, mask=column < columns, other=0.0)
        total += values.to(tl.float32)
    tl.store(out + row, tl.sum(total, axis=0).to(DTYPE))


def row_sum(x: torch.Tensor) -> torch.Tensor:
    """Sums of the rows of a matrix on a GPU."""
    rows, columns = x.shape
    out = torch.empty(rows, dtype=x.dtype, device=x.device)
    dtype, block = DTYPES[x.dtype], triton.next_power_of_2(columns)
    if block <= ONE_PASS:
        grid = lambda chosen: (triton.cdiv(rows, chosen["ROWS"]),)  # noqa: E731
        narrow[grid](x, out, rows, columns, x.stride(0), DTYPE=dtype, BLOCK=block)
    else:
        warps = 8 if torch.version.hip else 16
        wide[(rows,)](x, out, columns, x.stride(0), DTYPE=dtype, BLOCK=ONE_PASS, num_warps=warps)
    return out
