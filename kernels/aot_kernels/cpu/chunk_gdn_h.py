"""The states of gated delta nets on the CPU, by the variants that `chunk_gdn_h.csv` lists."""

from collections.abc import Callable
from ctypes import c_int64, c_void_p
from functools import cache

import torch

from aot_kernels.chunks import chunk_offsets
from aot_kernels.cpu.library import function
from aot_kernels.tensors import DTYPES

ARGUMENTS = [c_void_p] * 10 + [c_int64] * 7


@cache
def _variant(dtype: str, snapshot: str, state: str) -> Callable[..., None]:
    row: dict[str, object] = {"DTYPE": dtype, "SNAPSHOT": snapshot, "STATE": state}
    return function("chunk_gdn_h", "aot_chunk_gdn_h", ARGUMENTS, row)


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
    (batches, tokens, key_heads, keys), (heads, values) = k.shape, u.shape[2:]
    starts = ends or [tokens * batch for batch in range(batches + 1)]
    chunks = chunk_offsets(starts, chunk)
    packed = batches if ends is None else 1
    h = k.new_empty(
        (packed, chunks[-1] // max(packed, 1), heads, keys, values), dtype=snapshot_dtype
    )
    states = (len(starts) - 1, heads, keys, values)
    ht = k.new_empty(states, dtype=state_dtype) if final_state else None
    k, w, u, g = (tensor.resolve_neg().contiguous() for tensor in (k, w, u, g))
    h0 = None if initial_state is None else initial_state.resolve_neg().contiguous()
    v_new = torch.empty_like(u)
    places = torch.tensor([starts, chunks])
    _variant(DTYPES[k.dtype], DTYPES[snapshot_dtype], DTYPES[state_dtype])(
        k.data_ptr(), w.data_ptr(), u.data_ptr(), g.data_ptr(), h.data_ptr(), v_new.data_ptr(),
        None if h0 is None else h0.data_ptr(), None if ht is None else ht.data_ptr(),
        places[0].data_ptr(), places[1].data_ptr(), states[0], heads, key_heads, keys, values,
        min(chunk, max(tokens, 1)), torch.get_num_threads(),
    )  # fmt: skip
    return h, v_new, ht
