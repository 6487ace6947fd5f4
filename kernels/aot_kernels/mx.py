"""Block-scaled numbers: 32 elements of 4 or 8 bits share a power of two.

OCP Microscaling Formats (MX) Specification 1.0: elements e2m1 (two in a byte, the first in its low
half) or e4m3 (without infinities, up to 448), scales e8m0 (a byte, biased by 127; 255 is NaN).
"""

import torch

BLOCK = 32
"""Elements that share a scale, along the last dimension."""
FORMS = ("e2m1", "e4m3")
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""By their low three bits; the fourth is the sign."""
LARGEST_EXPONENT = {"e2m1": 2, "e4m3": 8}


def form_of(values: torch.Tensor, size: int) -> str:
    """The form of values that hold rows of `size` elements.

    Raises TypeError where their bytes can be neither.
    """
    if values.dtype is torch.float8_e4m3fn and values.shape[-1] == size:
        return "e4m3"
    if values.element_size() == 1 and values.shape[-1] * 2 == size:
        return "e2m1"
    raise TypeError(
        f"rows of {size} elements are float8_e4m3fn, or bytes of two e2m1 each;"
        f" got {tuple(values.shape)} of {values.dtype}"
    )


def encoded(x: torch.Tensor, form: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Values (float8_e4m3fn, or uint8 of half the width) and uint8 scales of x (..., 32 n).

    The conversion of the specification's section 6.3: rounded to nearest, ties to even, and
    saturated. A block that holds an infinity or NaN has a scale of NaN.
    """
    blocks = x.float().reshape(*x.shape[:-1], -1, BLOCK)
    most = blocks.abs().amax(-1, keepdim=True)
    # The exponent of frexp is one above that of a mantissa in [1, 2).
    power = torch.frexp(most).exponent - 1 - LARGEST_EXPONENT[form]
    power = torch.where(most > 0, power, -127).clamp(-127, 127)
    scaled = torch.ldexp(blocks, -power).flatten(-2)
    scales = torch.where(most.isfinite(), power + 127, 255)[..., 0].to(torch.uint8)
    if form == "e4m3":
        return scaled.clamp(-448, 448).to(torch.float8_e4m3fn), scales
    sizes = scaled.new_tensor(E2M1)
    codes = torch.bucketize(scaled.abs(), (sizes[1:] + sizes[:-1]) / 2)
    # Halfway between two sizes it took the lower, which is odd for every other pair.
    tie = scaled.abs() == ((sizes[1:] + sizes[:-1]) / 2)[codes.clamp(max=6)]
    codes = codes + (tie & (codes % 2 == 1)) + 8 * scaled.signbit()
    return (codes[..., ::2] | codes[..., 1::2] << 4).to(torch.uint8), scales


def decoded(values: torch.Tensor, scales: torch.Tensor, form: str) -> torch.Tensor:
    """What `encoded` gives, in float64: exact."""
    if form == "e4m3":
        numbers = values.view(torch.float8_e4m3fn).double()
    else:
        bits = values.view(torch.uint8)
        codes = torch.stack([bits & 15, bits >> 4], -1).flatten(-2).long()
        table = torch.tensor([*E2M1, *(-size for size in E2M1)], device=values.device)
        numbers = table.double()[codes]
    power = torch.where(scales == 255, torch.nan, torch.exp2(scales.double() - 127))
    return numbers * power.repeat_interleave(BLOCK, -1)
