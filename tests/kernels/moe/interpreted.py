"""Runs the Triton kernels of experts without a GPU, as `tests/kernels/interpreted.py` others.

Reads a case a line, as JSON, and answers with a line: {"worst": error as a part of what is
allowed}, or {"error": text}.
"""

import json
import sys
import traceback

from tests.kernels import interpreted  # first: it chooses the interpreter

import torch  # isort: skip
from aot_kernels import mx
from aot_kernels.gated import gated
from aot_kernels.gpu import experts, grouped_moe, moe
from aot_kernels.gpu.variants import Kernel, Variant

from tests.kernels.moe import bounds

PLAIN = Kernel.variants


def use(rows):
    """Have the launchers find these rows, and spare ones where none is named."""

    def variants(kernel, device, dtype):
        row = rows.get(kernel.name)
        return (Variant({"dtype": dtype, **row}),) if row else PLAIN(kernel, device, dtype)

    Kernel.variants = variants


def laid(tensor, layout):
    """The same values in one of the ways in which they may lie in memory."""
    if layout == "shifted":
        return torch.cat([tensor.flatten()[:1], tensor.flatten()])[1:].view(tensor.shape)
    if layout == "turned":
        return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)
    if layout == "sliced":
        return torch.nn.functional.pad(tensor, (3, 4), value=float("nan"))[..., 3:-4]
    return tensor


def random(*shape, dtype, layout="rows", scale=1.0):
    return laid((torch.randn(*shape) * scale).to(dtype), layout)


def run_moe(case):
    tokens, topk, number, dim, inter = case["shape"]
    dtype, layout = interpreted.DTYPES[case["dtype"]], case.get("layout", "rows")
    x = random(tokens, dim, dtype=dtype, layout=layout)
    w_up = random(number, 2 * inter, dim, dtype=dtype, layout=layout, scale=2 * dim**-0.5)
    w_down = random(number, dim, inter, dtype=dtype, layout=layout)
    ids = torch.stack([torch.randperm(number)[:topk] for _ in range(tokens)])
    if case.get("elsewhere"):
        ids = torch.where(torch.rand(ids.shape) < 0.3, number + 1, ids)
    weights = laid(torch.rand(tokens, topk), layout)
    activation = case.get("activation", "silu")
    found = moe.moe(x, w_up, w_down, weights, ids, gated(activation))
    assert found.shape == x.shape and found.dtype is dtype and found.is_contiguous()
    cut = dtype is torch.bfloat16
    return bounds.worst(found, *bounds.mixture(x, w_up, w_down, weights, ids, activation, cut))


def run_grouped(case):
    """One product, joined where an activation is named, with 16-bit elements or block-scaled."""
    number, room, columns, depth = case["shape"]
    activation, form = case.get("activation"), case.get("form")
    dtype = interpreted.DTYPES[case["dtype"]]
    constants = gated(activation) if activation else None
    a = torch.randn(number, room, depth)
    b = torch.randn(number, columns * (2 if activation else 1), depth) * 2 * depth**-0.5
    counts = torch.tensor(case["counts"])
    if form:
        a, a_scale = mx.encoded(a, form)
        b, b_scale = mx.encoded(b, "e2m1")
        a, b = (laid(each.view(torch.uint8), case.get("layout")) for each in (a, b))
        given = a.view(torch.float8_e4m3fn) if form == "e4m3" and not case.get("layout") else a
        found = grouped_moe.grouped_gemm_mx(given, a_scale, b, b_scale, counts, form, constants)
        a, b = mx.decoded(a, a_scale, form), mx.decoded(b, b_scale, "e2m1")
    else:
        a, b = laid(a.to(dtype), case.get("layout")), laid(b.to(dtype), case.get("layout"))
        found = grouped_moe.grouped_gemm(a, b, counts, constants)
    assert found.shape == (number, room, columns) and found.dtype is dtype
    cut, errors = dtype is torch.bfloat16, [0.0]
    for expert, count in enumerate(case["counts"]):
        rows = a[expert, :count].double()
        nothing = torch.zeros_like(rows)
        if activation:
            allowed = bounds.expert(rows, nothing, b[expert], activation, dtype, cut)
        else:
            exact, error = bounds.product(rows, nothing, b[expert])
            allowed = exact, bounds.rounding(exact, error, dtype, cut)
        errors.append(bounds.worst(found[expert, :count], *allowed))
    return max(errors)


def main():
    interpreted.mend()
    interpreted.Fence()
    torch.set_num_threads(1)
    assert all(
        type(kernel.function).__name__ == "InterpretedFunction"
        for kernel in (moe.UP, moe.SUM, grouped_moe.SCALED)
    )
    assert experts.multiply is moe.multiply
    for line in sys.stdin:
        case = json.loads(line)
        torch.manual_seed(0)
        use(case.get("rows", {}))
        try:
            found = {"worst": {"moe": run_moe, "grouped": run_grouped}[case["kernel"]](case)}
        except Exception:
            found = {"error": traceback.format_exc()}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
