"""Calls the operations on a GPU that is not there; says, as JSON, what Triton was to launch.

    python launched.py cuda:sm_90a

A process of its own: Triton and torch describe that GPU from here on. Nothing is compiled.
"""

import itertools
import json
import sys

import torch
import triton
from aot_kernels import (
    add_rmsnorm,
    chunk_gdn_h,
    gemm,
    gemm_a8w8,
    grouped_moe,
    moe,
    mx,
    rmsnorm,
)
from aot_kernels.gpu import variants
from aot_kernels.gpu.gemm_a8w8 import BYTES
from aot_kernels.tensors import DTYPES as FLOATS

from tests import stub_driver
from tests.kernels.rows import rows

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
SHAPES = [
    (1, 1, 1), (1, 4096, 4096), (16, 16, 16), (7, 50, 77), (300, 1000, 64), (513, 512, 4096),
    (4096, 48, 16), (2048, 2048, 33), (4096, 4096, 16),
]  # fmt: skip


def matrix(rows, cols, dtype, layout):
    if layout == "columns":
        return torch.empty(cols, rows, dtype=dtype).t()
    if layout == "shifted":
        return torch.empty(rows * cols + 1, dtype=dtype)[1:].view(rows, cols)
    if layout == "sliced":
        return torch.empty(rows, cols + 5, dtype=dtype)[:, 2 : cols + 2]
    return torch.empty(rows, cols, dtype=dtype)


def calls():
    layouts = ("rows", "columns", "shifted", "sliced")
    for dtype, (m, n, k), (left, right) in itertools.product(
        DTYPES, SHAPES, itertools.product(layouts, layouts)
    ):
        bias = torch.empty(n + 1, dtype=dtype)[1:] if (m + n + k) % 2 else None
        gemm(matrix(m, k, dtype, left), matrix(k, n, dtype, right), bias)
    for dtype, cols, layout in itertools.product(DTYPES, (1, 16, 77, 128, 256, 5000), layouts):
        x, weight = matrix(9, cols, dtype, layout), torch.empty(cols + 1, dtype=dtype)[1:]
        rmsnorm(x, weight)
        add_rmsnorm(x[:1], matrix(1, cols, dtype, "rows"), weight)
    for tokens, topk, dim, inter in ((1, 1, 16, 16), (300, 2, 77, 33), (20, 3, 1024, 512)):
        experts(tokens, topk, dim, inter)


def experts(tokens, topk, dim, inter):
    """In bf16, which alone is shipped."""
    x = torch.empty(tokens, dim, dtype=torch.bfloat16)
    w_up = torch.empty(4, 2 * inter, dim, dtype=torch.bfloat16)
    w_down = torch.empty(4 * dim * inter + 1, dtype=torch.bfloat16)[1:].view(4, dim, inter)
    ids = torch.zeros(tokens, topk, dtype=torch.int64)
    moe(x, w_up, w_down, torch.zeros(tokens, topk), ids)
    grouped_moe(x.expand(4, tokens, dim), w_up, w_down, torch.full((4,), tokens))


def calls_of_tuned(target):
    """What rows of tuned tables alone serve: states in bf16 of six heads, block-scaled numbers."""
    kinds = {row["state"] for at, row in rows("gpu_chunk_gdn_h_tuned") if at == target}
    if "bf16" in kinds:
        k = torch.empty(1, 70, 2, 128, dtype=torch.bfloat16)
        w, g = torch.empty(1, 70, 6, 128, dtype=torch.bfloat16), torch.empty(1, 70, 6)
        chunk_gdn_h(k, w, w, g, state_dtype=torch.bfloat16)
    if target in {at for at, _ in rows("gpu_grouped_moe_tuned")}:
        w_up, up_by = mx.encoded(torch.ones(4, 2 * 96, 160), "e2m1")
        w_down, down_by = mx.encoded(torch.ones(4, 160, 96), "e2m1")
        for form in mx.FORMS:
            x, by = mx.encoded(torch.ones(4, 7, 160), form)
            shifted = torch.cat([by.flatten()[:1], by.flatten()])[1:].view(by.shape)
            scales = {"x_scale": shifted, "w_up_scale": up_by, "w_down_scale": down_by}
            grouped_moe(x, w_up, w_down, torch.full((4,), 7), **scales)


def calls_of_a8w8(target):
    kinds = {(row["dtype"], row["out"]) for at, row in rows("gpu_gemm_a8w8") if at == target}
    for (dtype, name), (out, kind), (m, n, k) in itertools.product(
        BYTES.items(), FLOATS.items(), [(1, 16, 32), (16, 2048, 4096), (2048, 1024, 128)]
    ):
        if (name, kind) in kinds:
            a, b = torch.empty(m, k + 3, dtype=dtype)[:, 3:], torch.empty(n * k + 1, dtype=dtype)
            scales, bias = torch.empty(m + 1)[1:], torch.empty(n, dtype=out)
            gemm_a8w8(a, b[1:].view(n, k), scales, torch.empty(n), bias if m == 1 else None, out)


def calls_of_gdn():
    for batches, heads, snapshot in itertools.product(
        (1, 100), (1, 3), (torch.bfloat16, torch.float32)
    ):
        k = torch.empty(batches, 70, 2, 128, dtype=torch.bfloat16)
        w = torch.empty(batches, 70, 2 * heads, 128, dtype=torch.bfloat16)
        g = torch.empty(batches, 70, 2 * heads)
        chunk_gdn_h(k, w, w, g, snapshot_dtype=snapshot)
        h0 = torch.empty(batches * 2 * heads * 128 * 128 + 1)[1:].view(batches, -1, 128, 128)
        chunk_gdn_h(k, w, w.mT.contiguous().mT, g, h0, True, snapshot_dtype=snapshot)
        ends = torch.tensor([0, 5, 70])
        chunk_gdn_h(k[:1], w[:1], w[:1], g[:1], None, True, ends, snapshot_dtype=snapshot)


def main():
    (target,) = sys.argv[1:]
    stub_driver.plug_in(target)
    # What a build left here would serve the launches.
    sys.modules["aot_kernels._aot"] = None
    variants.all_shipped = lambda name, device: [
        variants.Variant(row) for built_for, row in rows(name) if built_for == target
    ]
    found = set()

    def note(compile, fn, **rest):
        launch = json.loads(compile["specialization_data"])
        launch.pop("key")
        launch["function"] = f"{fn.module}:{fn.name.rpartition('.')[2]}"
        launch["parameters"] = fn.jit_function.arg_names
        found.add(json.dumps(launch, sort_keys=True))
        return True

    triton.knobs.runtime.jit_cache_hook = note
    calls()
    calls_of_a8w8(target)
    calls_of_gdn()
    calls_of_tuned(target)
    print(json.dumps([json.loads(text) for text in sorted(found)]))


if __name__ == "__main__":
    main()
