"""How far from float64 a mixture of experts may be, out of what fp32 sums and roundings allow."""

import torch
from aot_kernels.gated import gated
from aot_kernels.reference.moe import activated

UNIT = 2.0**-24


def rounding(exact, error, dtype, cut=False):
    """The error after rounding to a dtype; `cut` where bf16 is rounded towards zero."""
    kind = torch.finfo(dtype)
    unit = kind.eps if cut else kind.eps / 2
    return error + unit * (exact.abs() + error) + kind.smallest_normal * kind.eps


def product(a, a_error, b, extra=8):
    """A @ B^T and its error: that of A, and (K + extra) roundings of fp32."""
    a, b = a.double(), b.double()
    sums = (a.shape[1] + extra) * UNIT * ((a.abs() + a_error) @ b.abs().t())
    return a @ b.t(), a_error @ b.abs().t() + sums


def joined(gate, up, error, activation):
    """The halves joined, and the error.

    The derivative of g * sigmoid(alpha * g) lies within 1.1 for every alpha; the exponential and
    the division err by some 16 units, and by one for each unit of the exponent.
    """
    alpha, limit, shift = gated(activation)
    g, u = gate.clamp(max=limit), up.clamp(-limit, limit) + shift
    swish, (gate_error, up_error) = g * torch.sigmoid(alpha * g), error
    own = (16 + alpha * g.abs()) * UNIT * (swish * u).abs()
    slope = 1.1 * gate_error * (u.abs() + up_error) + swish.abs() * up_error
    return activated(gate, up, activation), slope + own


def expert(x, x_error, w_up, activation, dtype, cut=False):
    """The first stage of one expert, rounded to the dtype between the stages, and its error."""
    both, error = product(x, x_error, w_up)
    half = w_up.shape[0] // 2
    h, h_error = joined(
        both[:, :half], both[:, half:], (error[:, :half], error[:, half:]), activation
    )
    return h, rounding(h, h_error, dtype, cut)


def mixture(x, w_up, w_down, weights, ids, activation, cut=False):
    """`aot_kernels.moe` and how far off it may be, both (tokens, D) in float64."""
    dtype, (tokens, topk) = x.dtype, ids.shape
    parts, errors = torch.zeros(2, tokens * topk, w_down.shape[1], dtype=torch.float64)
    for number in range(len(w_up)):
        own = (ids.flatten() == number).nonzero()[:, 0]
        if len(own):
            rows = x[own // topk].double()
            h, h_error = expert(rows, torch.zeros_like(rows), w_up[number], activation, dtype, cut)
            parts[own], errors[own] = product(h, h_error, w_down[number])
    weight = weights.double().reshape(-1, 1)
    errors = weight.abs() * (errors + (2 + topk) * UNIT * (parts.abs() + errors))
    total, error = ((each.view(tokens, topk, -1)).sum(1) for each in (weight * parts, errors))
    return total, rounding(total, error, dtype, cut)


def worst(found, exact, bound):
    """The largest error as a part of what is allowed; a NaN is as bad as can be."""
    if found.numel() == 0:
        return 0.0
    return ((found.double() - exact).abs() / bound).nan_to_num(nan=1e30).max().item()
