"""As interpreted.py, for gemm_a8w8 and chunk_gdn_h."""

import json
import sys
import traceback

from tests.kernels import interpreted  # first: it tells Triton to interpret

# isort: split
import torch
from aot_kernels.gpu import chunk_gdn_h as gdn
from aot_kernels.gpu import gemm_a8w8 as a8w8
from aot_kernels.gpu.gemm import Plan
from aot_kernels.gpu.variants import Variant
from aot_kernels.reference import chunk_gdn_h as states
from aot_kernels.reference import gemm as products
from aot_kernels.shuffled import shuffle_weight
from aot_kernels.tensors import DTYPES

from tests.kernels.gdn import bounds, problem, ratio
from tests.kernels.interpreted import UNIT, answer

BYTES = {name: dtype for dtype, name in a8w8.BYTES.items()}
FLOATS = interpreted.DTYPES


def matrix(rows, cols, dtype, layout="rows"):
    if dtype is torch.int8:
        found = torch.randint(-128, 128, (rows, 2 * cols)).to(dtype)
    else:
        found = (torch.randn(rows, 2 * cols) * 8).to(dtype)
    return found[:, ::2] if layout == "every other" else found[:, 3 : cols + 3].clone()


def run_gemm_a8w8(case):
    m, n, k = case["shape"]
    dtype, out = BYTES[case["dtype"]], FLOATS[case["out"]]
    a, weight = matrix(m, k, dtype, case.get("a", "rows")), matrix(n, k, dtype)
    b = shuffle_weight(weight)
    if case.get("shifted"):
        b = torch.cat([b.flatten()[:1], b.flatten()])[1:].view(n, k)
    scales = torch.rand(m + 1)[1:], torch.rand(n) / 64
    bias = torch.randn(n + 1).to(out)[1:] if case.get("bias") else None
    if "row" in case:
        sums = Variant(case["sum"]) if case.get("sum") else None
        plan = Plan(Variant(case["row"]), case.get("splits", 1), sums)
        found = a8w8.multiply(a, b, *scales, bias, out, plan)
    else:
        found = a8w8.gemm_a8w8(a, b, *scales, bias, out)
    exact = products.gemm_a8w8(a, b, *scales, bias)
    size = products.gemm_a8w8(a.double().abs(), b.double().abs(), *scales)
    size += 0 if bias is None else bias.double().abs()
    terms = 8 + (0 if dtype is torch.int8 else k) + case.get("splits", 1)
    return answer(found, interpreted.ratio(found, exact, terms * UNIT * size))


def run_chunk_gdn_h(case):
    dtype, ends, chunk = FLOATS[case["dtype"]], case.get("ends"), case["row"].get("BT", 64)
    snapshot, state = (FLOATS[case["row"][name]] for name in ("snapshot", "state"))
    h0, final = state if case.get("initial") else None, case.get("final", True)
    given = problem(case["shape"], dtype, h0, ends, chunk)
    arguments = (*(given[name] for name in ("k", "w", "u", "g", "initial_state")), final, ends)
    if "BV" in case["row"]:
        variant = Variant({"dtype": case["dtype"], **case["row"]})
        found = gdn.recur(*arguments, variant, (snapshot, state))
    else:
        found = gdn.chunk_gdn_h(*arguments, chunk, snapshot, state)
    exact = states.chunk_gdn_h(**given, chunk=chunk)
    rounded = 0 if dtype is torch.float32 else rounding(dtype)
    allowed = bounds(**given, chunk=chunk, exact=exact, unit=rounded)
    assert (found[2] is not None) == final
    worst = [
        ratio(got, right, bound, rounding(got.dtype))
        for got, right, bound in zip(found, exact, allowed, strict=True)
        if got is not None
    ]
    assert DTYPES[found[0].dtype] == case["row"]["snapshot"]
    return {**answer(found[1], max(worst)), "states": list(found[0].shape)}


def rounding(dtype):
    """That of the interpreter, which drops bits of bf16."""
    return torch.finfo(dtype).eps / (1 if dtype is torch.bfloat16 else 2)


def main():
    interpreted.mend()
    interpreted.Fence()
    for kernel in (a8w8.GEMM_A8W8, gdn.GDN):
        assert type(kernel.function).__name__ == "InterpretedFunction"
    runs = {"gemm_a8w8": run_gemm_a8w8, "chunk_gdn_h": run_chunk_gdn_h}
    for line in sys.stdin:
        case = json.loads(line)
        torch.manual_seed(0)
        try:
            found = runs[case["kernel"]](case)
        except Exception:
            found = {"error": traceback.format_exc()}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
