"""Runs the FlyDSL products on the CPU, as `interpret.py` does; a process of its own.

Reads a case a line, as JSON: {"tile": columns of Tile, "M": rows}, and answers with a line:
{"worst": error as a part of what fp32 sums and one rounding allow, "counts": how often each
operation ran, "scratch", "local": bytes that the code of a block needs}, or {"error": text}.
With "edit": [pattern, replacement] what was lowered is changed before it runs, so that it is wrong.
A case with {"name", "size"} is an example of `examples.py`.
"""

import functools
import json
import re
import sys
import tempfile
import traceback
from pathlib import Path

import torch
from aot_kernels.flydsl import gemm
from aot_kernels.flydsl.tile import Tile
from aot_kernels.shuffled import shuffled

from tests.kernels.flydsl import examples, interpret

FP8 = {"gfx942": torch.float8_e4m3fnuz}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
ROUNDING = {"bf16": 2**-8, "fp16": 2**-11, "fp32": 2**-24}


def random(shape, dtype):
    return torch.randn(shape).to(dtype)


def memory(tensor):
    """Its bytes, shared."""
    return tensor.view(torch.uint8).numpy() if tensor.numel() else torch.empty(0).numpy()


def product(case):
    tile, m = Tile(**case["tile"]), case["M"]
    of = FP8.get(tile.arch, torch.float8_e4m3fn) if tile.dtype == "fp8" else DTYPES[tile.dtype]
    out = DTYPES[tile.out]
    a, b = random((m, tile.K), of), random((tile.N, tile.K), of)
    bias, scales = random(tile.N, out), (torch.rand(m) + 0.5, torch.rand(tile.N) + 0.5)
    c = torch.full((m, tile.N), float("nan"), dtype=out)
    parts = torch.full((tile.SPLIT if tile.SPLIT > 1 else 0, m, tile.N), float("nan"))
    given = (c, a, shuffled(b) if tile.PRESHUFFLE else b, bias, parts, *scales)
    text, code = lowered(tile)
    text = re.sub(*case.get("edit", (r"$^", "")), text)
    arguments = [memory(tensor) for tensor in given]
    counts = interpret.run(text, tile.arch, [*arguments, m, None])
    exact, size = a.double() @ b.double().t(), a.double().abs() @ b.double().abs().t()
    if tile.SCALED:
        factors = scales[0].double()[:, None] * scales[1].double()
        exact, size = exact * factors, size * factors
    if tile.BIAS:
        exact, size = exact + bias.double(), size + bias.double().abs()
    bound = (tile.K + 8) * 2**-24 * size
    bound += ROUNDING[tile.out] * (exact.abs() + bound)
    worst = ((c.double() - exact).abs() / bound).nan_to_num(nan=1e30).max().item()
    return {"worst": worst, "counts": counts, **needs(code)}


@functools.cache
def lowered(tile):
    """What can be run of a tile's launch, and its code for the GPU. FlyDSL lowers it once."""
    with tempfile.TemporaryDirectory() as folder:
        with interpret.lowering(tile.arch, folder):
            gemm.compiled(tile)
        code = "".join(path.read_text() for path in Path(folder).rglob("*final_isa.s"))
        return interpret.newest(folder), code


def needs(code):
    """What the metadata of a module's kernels says that they need, at most."""
    names = {"scratch": "private_segment", "local": "group_segment"}
    return {
        short: max(map(int, re.findall(rf"\.{name}_fixed_size: +(\d+)", code)))
        for short, name in names.items()
    }


def main():
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        case = json.loads(line)
        torch.manual_seed(0)
        try:
            found = product(case) if "tile" in case else examples.run(**case)
        except Exception:
            found = {"error": traceback.format_exc()}
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
