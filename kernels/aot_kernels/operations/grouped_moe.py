"""What is promised of grouped products: rows that already lie expert by expert.

On a CPU shipped libraries are called, on a GPU shipped Triton kernels launched: see
`aot_kernels.operations.gemm`.
"""

import torch

from aot_kernels.gated import Gated, gated
from aot_kernels.mx import BLOCK, decoded, encoded, form_of
from aot_kernels.operations.moe import check_routing
from aot_kernels.tensors import check, check_places


def grouped_gemm(
    a: torch.Tensor,
    b: torch.Tensor,
    counts: torch.Tensor,
    *,
    a_scale: torch.Tensor | None = None,
    b_scale: torch.Tensor | None = None,
) -> torch.Tensor:
    """`a[e, :counts[e]] @ b[e].T` for each expert e: (E, M, N) of `a` (E, M, K) and `b` (E, N, K).

    `counts` (E,) is int32 or int64, each in [0, M]. What the result holds beyond them is undefined.
    bf16, fp16 or fp32, both of one dtype: multiplied without rounding, summed in fp32, rounded
    once. Any strides; copied on a GPU as `aot_kernels.operations.gemm.gemm` says.

    With scales both are block-scaled, as `aot_kernels.mx` says, and the result is bf16: `a` is
    float8_e4m3fn (E, M, K), or bytes (E, M, K / 2) of e2m1; `b` is bytes (E, N, K / 2) of e2m1;
    scales are uint8 (E, M, K / 32) and (E, N, K / 32). GPUs without matrix units for these multiply
    in bf16, which is exact; so does a CPU.

    Raises TypeError for dtypes and devices, ValueError for shapes, `_aot.KernelNotFound` where the
    package was built without a variant.
    """
    return _product("grouped_gemm", a, b, counts, None, a_scale, b_scale)


def grouped_moe(
    x: torch.Tensor,
    w_up: torch.Tensor,
    w_down: torch.Tensor,
    counts: torch.Tensor,
    activation: str = "silu",
    *,
    x_scale: torch.Tensor | None = None,
    w_up_scale: torch.Tensor | None = None,
    w_down_scale: torch.Tensor | None = None,
) -> torch.Tensor:
    """What each expert makes of its rows: (E, M, D) of `x` (E, M, D), of which `counts` (E,) count.

    `w_up` (E, 2 I, D) has the gate's I rows first, `w_down` is (E, D, I); `activation` is `silu` or
    `swiglu` (`aot_kernels.gated`). Two products as of `grouped_gemm`; what lies between them is
    rounded to x's dtype, or, with scales, to bf16 and then to the form of x.

    Raises as `grouped_gemm`, and ValueError for unknown activations.
    """
    constants = gated(activation)
    h = _product("grouped_moe", x, w_up, counts, constants, x_scale, w_up_scale)
    by = None
    if x_scale is not None:
        if h.shape[2] % BLOCK:
            raise ValueError(f"grouped_moe: I has to be a multiple of {BLOCK}; got {h.shape[2]}")
        h, by = encoded(h, form_of(x, x_scale.shape[-1] * BLOCK))
    return _product("grouped_moe", h, w_down, counts, None, by, w_down_scale)


def _product(
    operation: str,
    a: torch.Tensor,
    b: torch.Tensor,
    counts: torch.Tensor,
    constants: Gated | None,
    a_scale: torch.Tensor | None,
    b_scale: torch.Tensor | None,
) -> torch.Tensor:
    """One product, of whatever form; joined where there are constants."""
    if a_scale is None or b_scale is None:
        if a_scale is not b_scale:
            raise ValueError(f"{operation}: either all operands have scales, or none")
        check(operation, a=a, b=b)
        check_routing(operation, a, counts=counts)
        _check_shapes(operation, a, b, counts, constants, a.shape[-1:] == b.shape[-1:])
        return _plain(a, b, counts, constants)
    check_places(operation, a=a, b=b, a_scale=a_scale, b_scale=b_scale)
    check_routing(operation, a, counts=counts)
    _check_shapes(operation, a, b, counts, constants)
    form = _check_scaled(operation, a, a_scale, b, b_scale)
    if a.is_cuda:
        from aot_kernels.gpu.grouped_moe import grouped_gemm_mx

        return grouped_gemm_mx(a, a_scale, b, b_scale, counts, form, constants)
    exact = (decoded(a, a_scale, form), decoded(b, b_scale, "e2m1"))
    left, right = (each.to(torch.bfloat16) for each in exact)
    return _plain(left, right, counts, constants)


def _plain(
    a: torch.Tensor, b: torch.Tensor, counts: torch.Tensor, constants: Gated | None
) -> torch.Tensor:
    if a.is_cuda:
        from aot_kernels.gpu.grouped_moe import grouped_gemm as on_gpu

        return on_gpu(a, b, counts, constants)
    from aot_kernels.cpu.moe import grouped_gemm as on_cpu

    return on_cpu(a, b, counts, constants)


def _check_scaled(
    operation: str, a: torch.Tensor, a_scale: torch.Tensor, b: torch.Tensor, b_scale: torch.Tensor
) -> str:
    """The form of A. Raises TypeError for forms, ValueError for shapes of scales."""
    size = a_scale.shape[-1] * BLOCK if a_scale.dim() else 0
    form = form_of(a, size)
    if form_of(b, size) != "e2m1" or {a_scale.dtype, b_scale.dtype} != {torch.uint8}:
        given = f"{b.dtype}, {a_scale.dtype} and {b_scale.dtype}"
        raise TypeError(f"{operation}: weights have to be e2m1, scales uint8; got {given}")
    if a_scale.shape[:-1] != a.shape[:-1] or b_scale.shape != (*b.shape[:-1], size // BLOCK):
        given = f"{tuple(a_scale.shape)} and {tuple(b_scale.shape)}"
        raise ValueError(f"{operation}: expected a scale for each {BLOCK} elements; got {given}")
    return form


def _check_shapes(
    operation: str,
    a: torch.Tensor,
    b: torch.Tensor,
    counts: torch.Tensor,
    constants: Gated | None,
    deep: bool = True,
) -> None:
    """`deep` says whether the operands have one K."""
    left, right = tuple(a.shape), tuple(b.shape)
    grouped = len(left) == 3 == len(right) and (left[0],) == right[:1] == tuple(counts.shape)
    if not (grouped and deep) or (constants is not None and right[1] % 2):
        rows = "2 I" if constants else "N"
        raise ValueError(
            f"{operation}: expected rows (E, M, K), weights (E, {rows}, K) and counts (E,);"
            f" got {left}, {right} and {tuple(counts.shape)}"
        )
