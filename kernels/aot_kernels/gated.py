"""What joins the two halves of a gated projection.

All are one formula, `g * sigmoid(alpha * g) * (u + shift)`, with g at most `limit` and u within
plus and minus `limit`, so that one binary serves them all.
"""

from typing import NamedTuple


class Gated(NamedTuple):
    """The constants of one activation."""

    alpha: float
    limit: float
    shift: float


NOTHING = Gated(1.0, 0.0, 0.0)
"""For a product that joins no halves: not read."""
ACTIVATIONS = {
    "silu": Gated(1.0, float("inf"), 0.0),
    "swiglu": Gated(1.702, 7.0, 1.0),
}
"""`silu`: Shazeer, "GLU Variants Improve Transformer" (2020), its Swish being SiLU. `swiglu`: the
clamped form of OpenAI's gpt-oss models (`swiglu` of their `torch/model.py`, with its limit 7)."""


def gated(activation: str) -> Gated:
    """Constants by name. Raises ValueError naming those that there are."""
    if activation not in ACTIVATIONS:
        known = ", ".join(map(repr, ACTIVATIONS))
        raise ValueError(f"unknown activation {activation!r}; known: {known}")
    return ACTIVATIONS[activation]
