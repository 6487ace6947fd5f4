"""The rows and signatures of the Triton kernels, as the build reads them."""

import tomllib
from pathlib import Path

from aot_kernels.tuned import chunk_gdn_h, gemm, grouped_moe

from aot_build.specs.tables import read_table

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "kernels" / "aot_kernels" / "triton"
TARGETS = ("cuda:sm_80", "cuda:sm_90a", "cuda:sm_100a", "hip:gfx942", "hip:gfx950")
FILES = {
    "gpu_gemm": "gemm.csv",
    "gpu_gemm_sum": "gemm_sum.csv",
    "gpu_rmsnorm": "rmsnorm.csv",
    "gpu_gemm_a8w8": "gemm_a8w8.csv",
    "gpu_chunk_gdn_h": "chunk_gdn_h.csv",
    "gpu_moe_up": "moe_up.csv",
    "gpu_moe_down": "moe_down.csv",
    "gpu_moe_sum": "moe_sum.csv",
    "gpu_grouped_moe": "grouped_moe.csv",
}
TUNED = {
    "gpu_gemm_tuned": gemm.triton,
    "gpu_chunk_gdn_h_tuned": chunk_gdn_h.triton,
    "gpu_grouped_moe_tuned": grouped_moe.triton,
}


def rows(kernel):
    """(target, row) of every variant."""
    if kernel in TUNED:
        listed = [dict(row) for row in TUNED[kernel](TARGETS)]
        return [(row.pop("target"), row) for row in listed]
    found = []
    for raw in read_table(FOLDER / FILES[kernel], FILES[kernel]):
        row = {name: value for name, value in raw.values.items() if name != "target"}
        own = raw.values.get("target")
        found += [(target, row) for target in ([own] if own else TARGETS)]
    return found


def tiles(kernel, without=("num_warps", "num_stages", "matrix_instr_nonkdim")):
    """What an interpreter can tell apart, once each."""
    found = []
    for _, row in rows(kernel):
        tile = {name: value for name, value in row.items() if name not in without}
        found += [] if tile in found else [tile]
    return found


def declared(kernel):
    """The kernel's table in pyproject.toml."""
    with open(ROOT / "pyproject.toml", "rb") as stream:
        kernels = tomllib.load(stream)["tool"]["aot-build"]["kernels"]
    return next(table for table in kernels if table["name"] == kernel)


def signature(kernel, row):
    """Parameter -> type, filled in from a row."""
    types = declared(kernel)["signature"]
    return {name: kind.format_map(row) for name, kind in types.items()}


def label(value):
    """The name of a case."""
    if isinstance(value, dict):
        return "-".join(str(v) for v in value.values())
    return value if isinstance(value, str) else str(value)
