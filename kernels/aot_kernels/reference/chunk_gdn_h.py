"""The recurrence of a gated delta net's state in float64: over chunks, and token by token."""

from collections.abc import Iterator
from itertools import pairwise

import torch

States = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def chunk_gdn_h(
    k: torch.Tensor,
    w: torch.Tensor,
    u: torch.Tensor,
    g: torch.Tensor,
    initial_state: torch.Tensor | None = None,
    cu_seqlens: torch.Tensor | None = None,
    chunk: int = 64,
) -> States:
    """States before each chunk, new values and final states: see `aot_kernels.chunk_gdn_h`.

    The recurrence of Yang, Kautz and Hatamizadeh, "Gated Delta Networks: Improving Mamba2 with
    Delta Rule", ICLR 2025, section 3.3, as a chunk at a time is computed.
    """
    before, new, final = [], torch.zeros_like(u, dtype=torch.float64), []
    k, w, u, g = (t.double() for t in (per_value_head(k, u.shape[2]), w, u, g))
    for number, (batch, start, end) in enumerate(sequences(k, cu_seqlens)):
        state = _first_state(number, k, u, initial_state)
        for at in range(start, end, chunk):
            before.append(state)
            tokens = (batch, slice(at, min(at + chunk, end)))
            gate, last = g[tokens], g[batch, min(at + chunk, end) - 1]
            new[tokens] = u[tokens] - torch.einsum("thk,hkv->thv", w[tokens], state)
            left = torch.exp(last - gate)[..., None] * new[tokens]
            state = torch.exp(last)[:, None, None] * state
            state = state + torch.einsum("thk,thv->hkv", k[tokens], left)
        final.append(state)
    return _stacked(before, k, u, cu_seqlens), new, torch.stack(final)


def token_by_token(
    k: torch.Tensor,
    w: torch.Tensor,
    u: torch.Tensor,
    g: torch.Tensor,
    initial_state: torch.Tensor | None = None,
    cu_seqlens: torch.Tensor | None = None,
    chunk: int = 64,
) -> States:
    """The same, a token at a time: the state decays by what the gate adds, and takes in k v^T."""
    before, new, final = [], torch.zeros_like(u, dtype=torch.float64), []
    k, w, u, g = (t.double() for t in (per_value_head(k, u.shape[2]), w, u, g))
    for number, (batch, start, end) in enumerate(sequences(k, cu_seqlens)):
        state = _first_state(number, k, u, initial_state)
        for t in range(start, end):
            if (t - start) % chunk == 0:
                before.append(state)
                passed = torch.zeros_like(g[batch, t])
            new[batch, t] = u[batch, t] - torch.einsum("hk,hkv->hv", w[batch, t], before[-1])
            state = torch.exp(g[batch, t] - passed)[:, None, None] * state
            state = state + torch.einsum("hk,hv->hkv", k[batch, t], new[batch, t])
            passed = g[batch, t]
        final.append(state)
    return _stacked(before, k, u, cu_seqlens), new, torch.stack(final)


def per_value_head(k: torch.Tensor, heads: int) -> torch.Tensor:
    """Keys (B, T, Hg, K) as (B, T, H, K): H / Hg value heads in a row share a key head."""
    return k.repeat_interleave(heads // k.shape[2], dim=2)


def sequences(k: torch.Tensor, cu_seqlens: torch.Tensor | None) -> Iterator[tuple[int, int, int]]:
    """Where each lies: batch, first token, the one after the last."""
    if cu_seqlens is None:
        yield from ((batch, 0, k.shape[1]) for batch in range(k.shape[0]))
        return
    ends = [int(end) for end in cu_seqlens.tolist()]
    yield from ((0, start, end) for start, end in pairwise(ends))


def _first_state(
    number: int, k: torch.Tensor, u: torch.Tensor, initial_state: torch.Tensor | None
) -> torch.Tensor:
    if initial_state is not None:
        return initial_state[number].double()
    return u.new_zeros((u.shape[2], k.shape[3], u.shape[3]))


def _stacked(
    before: list[torch.Tensor], k: torch.Tensor, u: torch.Tensor, cu_seqlens: torch.Tensor | None
) -> torch.Tensor:
    """(B, chunks, H, K, V): in a packed batch, of one, the chunks of all sequences in a row."""
    batches = 1 if cu_seqlens is not None else k.shape[0]
    state = (u.shape[2], k.shape[3], u.shape[3])
    if not before:
        return u.new_zeros((batches, 0, *state))
    return torch.stack(before).view(batches, -1, *state)
