"""Calls the operations on a GPU that is not there; says, as JSON, what Triton was to launch.

    python launched.py cuda:sm_90a

A process of its own: Triton and torch describe that GPU from here on. Nothing is compiled.
"""

import itertools
import json
import sys

import torch
import triton
from aot_kernels import add_rmsnorm, gemm, rmsnorm
from aot_kernels.gpu import variants

from tests import stub_driver
from tests.kernels.rows import rows

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
SHAPES = [
    (1, 1, 1), (1, 4096, 4096), (16, 16, 16), (7, 50, 77), (300, 1000, 64), (513, 512, 4096),
    (4096, 48, 16), (2048, 2048, 33),
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


def main():
    (target,) = sys.argv[1:]
    stub_driver.plug_in(target)
    # What a build left here would serve the launches.
    sys.modules["aot_kernels._aot"] = None
    variants._shipped = lambda name, device: [
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
    print(json.dumps([json.loads(text) for text in sorted(found)]))


if __name__ == "__main__":
    main()
