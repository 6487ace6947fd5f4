"""Runs the Triton kernels without a GPU, in Triton's interpreter; a process of its own.

Reads a case a line, as JSON, and answers with a line: {"worst": error as a part of what fp32 sums
and one rounding allow, "shape", "contiguous", "dtype"}, or {"error": text}.
"""

import json
import os
import sys
import traceback

os.environ["TRITON_INTERPRET"] = "1"

import torch
import triton.language as tl
from aot_kernels.gpu.gemm import GEMM, SUM, Plan, gemm, multiply
from aot_kernels.gpu.rmsnorm import RMSNORM, normalise, rmsnorm
from aot_kernels.gpu.variants import Variant
from triton.runtime.interpreter import GridExecutor, InterpreterBuilder

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
UNIT = 2**-24


def mend():
    """Triton's interpreter multiplies the bits of bf16 as integers.

    It also rounds to bf16 towards zero, which is allowed for below.
    """
    dot = InterpreterBuilder.create_dot

    def create_dot(self, a, b, *rest):
        if a.dtype.scalar == tl.bfloat16:
            a, b = self.create_fp_ext(a, tl.float32), self.create_fp_ext(b, tl.float32)
        return dot(self, a, b, *rest)

    InterpreterBuilder.create_dot = create_dot


def stored(value, dtype):
    """An fp32 value as the interpreter rounds it."""
    if dtype is torch.bfloat16:
        return (value.view(torch.int32) & -65536).view(torch.float32).to(dtype)
    return value.to(dtype)


class Fence:
    """Lets kernels read and write within their tensors alone, and starts results off as NaN."""

    def __init__(self):
        self.spans = []
        init, load, store = (
            GridExecutor._init_args_hst,
            InterpreterBuilder.create_masked_load,
            InterpreterBuilder.create_masked_store,
        )

        def enter(executor, args, kwargs):
            found = init(executor, args, kwargs)
            values = (*found[0], *found[1].values())
            self.spans = [span(v) for v in values if isinstance(v, torch.Tensor)]
            return found

        def checked_load(builder, pointers, mask, *rest):
            self.check("read", pointers, mask)
            return load(builder, pointers, mask, *rest)

        def checked_store(builder, pointers, value, mask, *rest):
            self.check("write", pointers, mask)
            return store(builder, pointers, value, mask, *rest)

        GridExecutor._init_args_hst = enter
        InterpreterBuilder.create_masked_load = checked_load
        InterpreterBuilder.create_masked_store = checked_store
        new_empty = torch.Tensor.new_empty
        torch.Tensor.new_empty = lambda *args, **how: fill(new_empty(*args, **how))

    def check(self, what, pointers, mask):
        first = pointers.data[mask.data.astype(bool)].astype("int64")
        size = pointers.dtype.scalar.element_ty.primitive_bitwidth // 8
        inside = sum((first >= start) & (first + size <= end) for start, end in self.spans)
        assert (inside > 0).all(), f"{what} outside of every tensor"


def span(tensor):
    """Where a tensor begins and ends."""
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def fill(tensor):
    return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor


def matrix(rows, cols, dtype, layout="rows"):
    """Random values in one of the ways in which a matrix may lie in memory."""
    if layout == "among nan":
        flat = torch.full(((rows + 2) * (cols + 31),), float("nan"), dtype=dtype)
        found = flat[16:].as_strided((rows, cols), ((cols + 31) // 16 * 16, 1), 16)
        return found.copy_(torch.randn(rows, cols))
    if layout == "columns among nan":
        return matrix(cols, rows, dtype, "among nan").t()
    if layout == "columns":
        return torch.randn(cols, rows).to(dtype).t()
    if layout == "shifted":
        return torch.randn(rows * cols + 1).to(dtype)[1:].view(rows, cols)
    if layout == "sliced":
        return torch.randn(rows, cols + 5).to(dtype)[:, 2 : cols + 2]
    if layout == "every other":
        return torch.randn(2 * rows, 3 * cols).to(dtype)[::2, ::3]
    if layout == "expanded":
        return torch.randn(1, cols).to(dtype).expand(rows, cols)
    return torch.randn(rows, cols).to(dtype)


def ratio(found, exact, bound):
    kind = torch.finfo(found.dtype)
    unit = kind.eps if found.dtype is torch.bfloat16 else kind.eps / 2
    bound = bound + unit * (exact.abs() + bound) + kind.smallest_normal * kind.eps
    # A NaN is no error of some size: it would compare as none at all.
    return ((found.double() - exact).abs() / bound).nan_to_num(nan=1e30).max().item()


def run_gemm(case):
    m, n, k = case["shape"]
    dtype = DTYPES[case["dtype"]]
    a = matrix(m, k, dtype, case.get("a", "rows"))
    b = matrix(k, n, dtype, case.get("b", "rows"))
    bias = matrix(1, n, dtype, case.get("a", "rows"))[0] if case.get("bias") else None
    if "row" in case:
        sums = Variant(case["sum"]) if case.get("sum") else None
        plan = Plan(Variant(case["row"]), case.get("splits", 1), sums)
        found = multiply(a, b, bias, plan)
        if case.get("repeat"):
            assert torch.equal(found, multiply(a, b, bias, plan)), "not repeatable"
    else:
        found = gemm(a, b, bias)
    exact, size = a.double() @ b.double(), a.double().abs() @ b.double().abs()
    if bias is not None:
        exact, size = exact + bias.double(), size + bias.double().abs()
    return answer(found, ratio(found, exact, (k + 8) * UNIT * size))


def run_rmsnorm(case):
    rows, cols = case["shape"]
    dtype, eps = DTYPES[case["dtype"]], case.get("eps", 1e-6)
    x = matrix(rows, cols, dtype, case.get("x", "rows"))
    weight = matrix(1, cols, dtype, case.get("x", "rows"))[0]
    residual = matrix(rows, cols, dtype, case["residual"]) if "residual" in case else None
    if "row" in case:
        y, total = normalise(x, weight, eps, residual, Variant(case["row"]))
    else:
        y, total = rmsnorm(x, weight, eps, residual)
    v = x if residual is None else stored(x.float() + residual.float(), dtype)
    assert torch.equal(total, v) and (residual is None or total.is_contiguous())
    v = v.double()
    exact = v * torch.rsqrt((v * v).mean(-1, keepdim=True) + eps) * weight.double()
    return answer(y, ratio(y, exact, (cols / 16 + 32) * UNIT * exact.abs()))


def answer(found, worst):
    return {
        "worst": worst,
        "shape": list(found.shape),
        "contiguous": found.is_contiguous(),
        "dtype": str(found.dtype),
    }


def main():
    mend()
    Fence()
    assert all(type(k.function).__name__ == "InterpretedFunction" for k in (GEMM, SUM, RMSNORM))
    for line in sys.stdin:
        case = json.loads(line)
        torch.manual_seed(0)
        try:
            found = {"gemm": run_gemm, "rmsnorm": run_rmsnorm}[case["kernel"]](case)
        except Exception:
            found = {"error": traceback.format_exc()}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
