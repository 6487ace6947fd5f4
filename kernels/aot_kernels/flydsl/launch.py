"""Launches the FlyDSL products on a GPU of AMD's, by the variants that are shipped for its shape.

FlyDSL finds what is shipped in its cache, which `_aot.install()` makes it read; what is not
there it compiles. Nothing here is called on devices that FlyDSL has no code for.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import torch

from aot_kernels.flydsl.tile import FIXED_A8W8, Tile
from aot_kernels.tensors import DTYPES

FIXED: dict[str, dict[str, Any]] = {"fly_gemm": {"PRESHUFFLE": False}, "fly_gemm_a8w8": FIXED_A8W8}
"""What the variants of a kernel have in common, beyond their columns."""


def gemm(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> torch.Tensor:  # fmt: skip
    """`a @ b^T + bias`: (M, K) by (N, K) to (M, N), bf16 or fp16; `bias` has the result's dtype.

    Summed in fp32 and rounded once; repeatable. Raises LookupError where nothing is shipped for
    the shape and dtypes.
    """
    out_dtype = out_dtype or a.dtype
    row = {"dtype": DTYPES[a.dtype], "out": DTYPES[out_dtype], "BIAS": bias is not None}
    tile = tile_for("fly_gemm", a, b.shape[0], row)
    return started(tile, a, b, out_dtype, bias=bias)


def gemm_a8w8(
    a: torch.Tensor, b: torch.Tensor, scale_a: torch.Tensor, scale_b: torch.Tensor,
    out_dtype: torch.dtype = torch.bfloat16,
) -> torch.Tensor:  # fmt: skip
    """`(a * scale_a) @ (b * scale_b)^T`: fp8 (M, K) by `aot_kernels.shuffled` (N, K), fp32 scales
    of (M,) and (N,). Otherwise as `gemm`.
    """
    tile = tile_for("fly_gemm_a8w8", a, b.shape[0], {"out": DTYPES[out_dtype]})
    return started(tile, a, b, out_dtype, row_scale=scale_a, column_scale=scale_b)


def tile_for(kernel: str, a: torch.Tensor, n: int, row: Mapping[str, Any]) -> Tile:
    """Of what is shipped for the device, the best for A: see `choose`. Raises LookupError."""
    from aot_kernels.gpu.variants import all_shipped

    name = torch.cuda.get_device_properties(a.device).gcnArchName
    wanted = {**row, "N": n, "K": a.shape[1]}
    found = [variant.row for variant in all_shipped(kernel, a.device)]
    return choose(kernel, name.partition(":")[0], found, wanted, a.shape[0])


def choose(
    kernel: str, arch: str, rows: Iterable[Mapping[str, Any]], wanted: Mapping[str, Any], m: int
) -> Tile:
    """The tile of a row as wanted that covers M in the fewest and smallest steps.

    Raises LookupError where there is none.
    """
    fit = [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]
    if not fit:
        given = ", ".join(f"{name} = {value}" for name, value in wanted.items())
        raise LookupError(f"{kernel}: nothing is shipped for {arch} and {given}")
    best = min(fit, key=lambda row: (-(-m // row["BM"]) * row["BM"], -row["BM"]))
    known = {name: value for name, value in best.items() if name in Tile._fields}
    return Tile(**{"arch": arch, **FIXED[kernel], **known})


def started(
    tile: Tile, a: torch.Tensor, b: torch.Tensor, out_dtype: torch.dtype,
    **others: torch.Tensor | None,
) -> torch.Tensor:  # fmt: skip
    """Launch on the device's current stream. `others`: bias, row_scale, column_scale."""
    from aot_kernels.flydsl.gemm import started as start

    _install()
    c = a.new_empty((a.shape[0], tile.N), dtype=out_dtype)
    if a.shape[0] == 0:
        return c
    size = (tile.SPLIT, *c.shape) if tile.SPLIT > 1 else (0,)
    parts = c.new_empty(size, dtype=torch.float32)
    tensors = {"c": c, "a": a, "b": b, "parts": parts}
    tensors |= dict.fromkeys(("bias", "row_scale", "column_scale"), c)
    tensors |= {name: each for name, each in others.items() if each is not None}
    held = {name: each.contiguous() for name, each in tensors.items()}
    with torch.cuda.device(a.device):
        stream = torch.cuda.current_stream(a.device).cuda_stream
        start(tile, {name: t.data_ptr() for name, t in held.items()}, a.shape[0], stream)
    return c


@cache
def _install() -> None:
    """Not on import, which changes nothing: this sets where FlyDSL looks."""
    import_module("aot_kernels._aot").install("flydsl")
