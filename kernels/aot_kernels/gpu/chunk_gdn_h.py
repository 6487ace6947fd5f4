"""The states of gated delta nets on GPUs, by the variants of `aot_kernels/triton/chunk_gdn_h.csv`.

A variant with an initial state serves a call without one, by a state of zeros; one that stores
final states serves a call that wants none; one for a packed batch serves any. So one set of flags
serves all calls, at the cost of a few small tensors, where exactly theirs are not shipped.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import torch

from aot_kernels.chunks import chunk_offsets
from aot_kernels.gpu.aligned import aligned_tensor
from aot_kernels.gpu.gemm import processors_of
from aot_kernels.gpu.variants import Kernel, Variant
from aot_kernels.tensors import DTYPES

GDN = Kernel(
    "gpu_chunk_gdn_h",
    "aot_kernels.triton.chunk_gdn_h:chunk_gdn_h",
    spare=((("BV", 16), ("num_warps", 4), ("num_stages", 2)),),
)
TUNED = Kernel("gpu_chunk_gdn_h_tuned", GDN.source)
"""The same, by rows of tuned tables: for fixed numbers of heads."""

WIDTHS = (16, 32, 64, 128, 256)
"""Sizes of K."""
CHUNKS = (16, 32, 64)


def chunk_gdn_h(
    k: torch.Tensor,
    w: torch.Tensor,
    u: torch.Tensor,
    g: torch.Tensor,
    initial_state: torch.Tensor | None,
    final_state: bool,
    ends: list[int] | None,
    chunk: int,
    snapshot_dtype: torch.dtype,
    state_dtype: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """States and new values of what was checked: see `aot_kernels.operations.chunk_gdn_h`."""
    width, (heads, values) = k.shape[3], u.shape[2:]
    if width not in WIDTHS or values % 16 or chunk not in CHUNKS:
        raise ValueError(
            f"chunk_gdn_h: on a GPU K is one of {WIDTHS}, V a multiple of 16, a chunk one of"
            f" {CHUNKS}; got K = {width}, V = {values}, chunk = {chunk}"
        )
    row = (
        ("snapshot", DTYPES[snapshot_dtype]), ("state", DTYPES[state_dtype]), ("K", width),
        ("V", values), ("BT", chunk),
    )  # fmt: skip
    flags = (initial_state is not None, final_state, ends is not None)
    count = k.shape[0] if ends is None else len(ends) - 1
    variant = choose(
        variants_for(k.device, DTYPES[k.dtype], (heads, k.shape[2]), row, flags),
        count * heads * values, processors_of(k.device),
    )  # fmt: skip
    return recur(k, w, u, g, initial_state, final_state, ends, variant,
                 (snapshot_dtype, state_dtype))  # fmt: skip


@lru_cache(maxsize=1024)
def variants_for(
    device: torch.device,
    dtype: str,
    heads: tuple[int, int],
    row: tuple[tuple[str, Any], ...],
    flags: tuple[bool, bool, bool],
) -> tuple[Variant, ...]:
    """Those that serve: for these heads, else for any; with these flags, else with more."""
    places = ((TUNED, heads), (GDN, (0, 0)))
    names = ("use_h0", "store_fs", "is_varlen")
    for (kernel, (h, hg)), served in product(
        places, product(*((True,) if flag else (False, True) for flag in flags))
    ):
        columns = {**dict(row), "H": h, "Hg": hg, **dict(zip(names, served, strict=True))}
        found = kernel.shipped(device, dtype, **columns)
        if found:
            return found
    own = dict(zip(names, flags, strict=True))
    return GDN.variants(device, dtype, **dict(row), H=0, Hg=0, **own)


def choose(variants: Sequence[Variant], columns: int, processors: int) -> Variant:
    """The widest that still has a program for every processor, else the narrowest.

    `columns` are those of all states together.
    """
    widest_first = sorted(variants, key=lambda v: -int(v.row["BV"]))
    enough = (v for v in widest_first if columns // v.row["BV"] >= processors)
    return next(enough, widest_first[-1])


def recur(
    k: torch.Tensor,
    w: torch.Tensor,
    u: torch.Tensor,
    g: torch.Tensor,
    initial_state: torch.Tensor | None,
    final_state: bool,
    ends: list[int] | None,
    variant: Variant,
    dtypes: tuple[torch.dtype, torch.dtype],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """States and new values by one variant; `dtypes` are those of snapshots and states."""
    (batches, tokens, key_heads, width), (heads, values) = k.shape, u.shape[2:]
    row, count = variant.row, batches if ends is None else len(ends) - 1
    starts = ends or [tokens * batch for batch in range(batches + 1)]
    chunks = chunk_offsets(starts, row["BT"])
    packed = 1 if ends is not None else batches
    shape = (packed, chunks[-1] // max(packed, 1), heads, width, values)
    h, v_new = k.new_empty(shape, dtype=dtypes[0]), u.new_empty(u.shape)
    # What is not read or written is passed as a pointer of the type that was compiled.
    states = (count, heads, width, values)
    ht = k.new_empty(states if row["store_fs"] else 1, dtype=dtypes[1])
    h0 = ht if initial_state is None else aligned_tensor(initial_state)
    if row["use_h0"] and initial_state is None:
        h0 = k.new_zeros(states, dtype=dtypes[1])
    if count == 0:
        return h, v_new, ht if final_state else None
    places = [k.new_tensor(each, dtype=torch.int32) for each in (starts, chunks)]
    variant.launch(GDN.function, k.device, (values // row["BV"], count * heads), {
        "k": aligned_tensor(k), "w": aligned_tensor(w), "u": aligned_tensor(u),
        "g": aligned_tensor(g), "h": h, "v_new": v_new, "h0": h0, "ht": ht,
        "cu_seqlens": places[0], "chunk_offsets": places[1], "T": tokens, "heads": heads,
        "key_heads": key_heads,
    })  # fmt: skip
    return h, v_new, ht if final_state else None
