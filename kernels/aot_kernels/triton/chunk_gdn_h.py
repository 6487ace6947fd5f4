"""The states of gated delta nets, a chunk of tokens at a time; `chunk_gdn_h.csv` lists rows.

A program owns BV columns of one head's state, which no other needs, for all of a sequence: the
smaller BV, the more programs there are, and the more often `k` and `w` are read. H and Hg are
constants in rows that were tuned for a model, 0 in those that take any number of heads at run time.

It assumes what `aot_kernels.gpu.chunk_gdn_h` makes true: 16-byte aligned pointers to contiguous
tensors; K is a power of two, BV divides V.

The kernel is long: the state and five offsets move on with each chunk, and functions would have to
pass all of them about.
"""

# mypy: ignore-errors
# Triton's language, in Python's syntax.

import triton
import triton.language as tl


@triton.jit
def _exp(x):
    """One multiplication and one instruction."""
    return tl.exp2(x * 1.4426950408889634)


@triton.jit(do_not_specialize=["T", "heads", "key_heads"])
def chunk_gdn_h(
    k, w, u, g, h, v_new, h0, ht, cu_seqlens, chunk_offsets, T, heads, key_heads,
    K: tl.constexpr, V: tl.constexpr, BT: tl.constexpr, BV: tl.constexpr,
    H: tl.constexpr, Hg: tl.constexpr,
    use_h0: tl.constexpr, store_fs: tl.constexpr, is_varlen: tl.constexpr,
):  # fmt: skip
    """v_new = u - w @ S, then S = exp(g_last) S + k^T @ (exp(g_last - g) v_new), chunk by chunk.

    k (B, T, Hg, K), w (B, T, H, K), u and v_new (B, T, H, V), g (B, T, H), S before each chunk in
    h (B, chunks, H, K, V), at first in h0 (B, H, K, V) and at last in ht. In a packed batch the
    sequence i is tokens `cu_seqlens[i]` to `cu_seqlens[i + 1]`, its chunks begin at
    `chunk_offsets[i]`; else each has T. Grid: V / BV, sequences times heads.
    """
    value_heads, share = heads, heads // key_heads
    if H > 0:
        value_heads, share = H, H // Hg
    number = tl.program_id(1)
    sequence, head = number // value_heads, number % value_heads
    if is_varlen:
        start = tl.load(cu_seqlens + sequence)
        length = tl.load(cu_seqlens + sequence + 1) - start
        first = start.to(tl.int64)
        chunk = tl.load(chunk_offsets + sequence).to(tl.int64)
    else:
        length = T
        first = sequence.to(tl.int64) * T
        chunk = sequence.to(tl.int64) * tl.cdiv(T, BT)
    token = tl.arange(0, BT)
    key, value = tl.arange(0, K), tl.program_id(0) * BV + tl.arange(0, BV)
    keys_at = (first * (value_heads // share) + head // share) * K
    keys_at += token[:, None] * (value_heads // share * K) + key[None, :]
    rows_at = (first + token) * value_heads + head
    w_at = rows_at[:, None] * K + key[None, :]
    u_at = rows_at[:, None] * V + value[None, :]
    state_at = key[:, None] * V + value[None, :]
    h_at = (chunk * value_heads + head) * (K * V) + state_at
    last_at = first * value_heads + head

    if use_h0:
        state = tl.load(h0 + number.to(tl.int64) * (K * V) + state_at).to(tl.float32)
    else:
        state = tl.zeros((K, BV), dtype=tl.float32)
    for done in range(0, length, BT):
        tl.store(h + h_at, state.to(h.dtype.element_ty))
        inside = token < length - done
        w_tile = tl.load(w + w_at, mask=inside[:, None], other=0.0)
        new = tl.load(u + u_at, mask=inside[:, None], other=0.0).to(tl.float32)
        new -= tl.dot(w_tile, state.to(w_tile.dtype), input_precision="ieee")
        tl.store(v_new + u_at, new.to(v_new.dtype.element_ty), mask=inside[:, None])
        gate = tl.load(g + rows_at, mask=inside, other=0.0)
        last = tl.load(g + last_at + (tl.minimum(done + BT, length) - 1).to(tl.int64) * value_heads)
        left = new * tl.where(inside, _exp(last - gate), 0.0)[:, None]
        k_tile = tl.load(k + keys_at, mask=inside[:, None], other=0.0)
        added = left.to(k_tile.dtype)
        state = tl.dot(tl.trans(k_tile), added, state * _exp(last), input_precision="ieee")
        keys_at += BT * (value_heads // share) * K
        rows_at += BT * value_heads
        w_at += BT * value_heads * K
        u_at += BT * value_heads * V
        h_at += value_heads * (K * V)
    if store_fs:
        out = ht + number.to(tl.int64) * (K * V) + state_at
        tl.store(out, state.to(ht.dtype.element_ty))
