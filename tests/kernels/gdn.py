"""Problems for chunk_gdn_h, and how far from float64 a computation in fp32 may end."""

import torch
from aot_kernels.reference.chunk_gdn_h import per_value_head, sequences

FP32 = 2**-24


def problem(shape, dtype, state=None, ends=None, chunk=64):
    """Arguments of the operation: keys of length 1, gates that forget, a contraction for w."""
    batches, tokens, key_heads, heads, keys, values = shape
    k = torch.nn.functional.normalize(torch.randn(batches, tokens, key_heads, keys), dim=-1)
    w = torch.randn(batches, tokens, heads, keys) / keys
    u = torch.randn(batches, tokens, heads, values)
    gates = -torch.rand(batches, tokens, heads) / 4
    cu_seqlens = None if ends is None else torch.tensor(ends)
    g = torch.empty_like(gates)
    for batch, start, end in sequences(k, cu_seqlens):
        for at in range(start, end, chunk):
            span = (batch, slice(at, min(at + chunk, end)))
            g[span] = gates[span].cumsum(0)
    count = batches if ends is None else len(ends) - 1
    h0 = None if state is None else torch.randn(count, heads, keys, values).to(state)
    return {"k": k.to(dtype), "w": w.to(dtype), "u": u.to(dtype), "g": g, "initial_state": h0,
            "cu_seqlens": cu_seqlens}  # fmt: skip


def bounds(k, w, u, g, initial_state, cu_seqlens, chunk, exact, unit):
    """Bounds of the errors of `exact`, the reference's results, before they are stored.

    `unit` is the relative error with which S and what is left of new values enter products, 0
    where they stay fp32. Sums of n terms are wrong by n roundings of what they sum, exp(x) by
    2 |x| + 8.
    """
    before, new, final = exact
    states, values, finals = torch.zeros_like(before), torch.zeros_like(new), []
    k, w, g = (t.double() for t in (per_value_head(k, u.shape[2]).abs(), w.abs(), g))
    states_flat, before_flat, number = states.flatten(0, 1), before.flatten(0, 1), 0
    for batch, start, end in sequences(k, cu_seqlens):
        error = torch.zeros_like(final[0])
        for at in range(start, end, chunk):
            tokens, last = (
                (batch, slice(at, min(at + chunk, end))),
                g[batch, min(at + chunk, end) - 1],
            )
            states_flat[number], state = error, before_flat[number].abs()
            number += 1
            seen = error + unit * (state + error) + (k.shape[-1] + 2) * FP32 * (state + error)
            wrong = torch.einsum("thk,hkv->thv", w[tokens], seen)
            wrong += 2 * FP32 * (new[tokens].abs() + u[tokens].double().abs())
            values[tokens] = wrong
            exponent = (last - g[tokens])[..., None]
            decay, off = torch.exp(exponent), (2 * exponent.abs() + 8) * FP32
            left = decay * new[tokens].abs()
            wrong = decay * wrong + (off + unit) * (left + decay * wrong)
            kept, off = torch.exp(last)[:, None, None], (2 * last.abs() + 8)[:, None, None] * FP32
            sums = torch.einsum("thk,thv->hkv", k[tokens], left + wrong) + kept * (state + error)
            error = kept * error + off * kept * (state + error) + (chunk + 2) * FP32 * sums
            error += torch.einsum("thk,thv->hkv", k[tokens], wrong)
        finals.append(error)
    return states, values, torch.stack(finals)


def ratio(found, exact, bound, unit):
    """The worst error, as a part of what is allowed once it was rounded by `unit`."""
    kind = torch.finfo(found.dtype)
    bound = bound + unit * (exact.abs() + bound) + kind.smallest_normal * kind.eps
    if not found.numel():
        return 0.0
    return ((found.double() - exact).abs() / bound).nan_to_num(nan=1e30).max().item()
