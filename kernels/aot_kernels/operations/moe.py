"""What is promised of mixtures of experts, on whatever device the tensors are.

On a CPU shipped libraries are called, on a GPU shipped Triton kernels launched: see
`aot_kernels.operations.gemm`.
"""

import torch

from aot_kernels.gated import gated
from aot_kernels.tensors import check


def moe(
    x: torch.Tensor,
    w_up: torch.Tensor,
    w_down: torch.Tensor,
    topk_weights: torch.Tensor,
    topk_ids: torch.Tensor,
    activation: str = "silu",
) -> torch.Tensor:
    """For each token the weighted sum of what its experts make of it: (tokens, D), of x's dtype.

    `x` (tokens, D), `w_up` (E, 2 I, D) with the gate's I rows first, and `w_down` (E, D, I) are of
    one dtype: bf16, fp16 or fp32. `topk_weights` (tokens, topk) are of any floating dtype, used in
    fp32; `topk_ids` (tokens, topk) are int32 or int64. An id outside [0, E) is of an expert
    elsewhere, and contributes nothing. `activation` is `silu` or `swiglu`: `aot_kernels.gated`.

    Each stage multiplies without rounding and sums in fp32; what lies between them is rounded to
    the dtype, the result once. Any strides on a CPU; on a GPU operands are copied where their
    pointers are not aligned to 16 bytes, or D, I or their longer strides are no multiples of 16.
    Repeatable: a token's choices are added in their order.

    Raises TypeError for dtypes and devices, ValueError for shapes and unknown activations,
    `_aot.KernelNotFound` where the package was built without a variant.
    """
    constants = gated(activation)
    check("moe", x=x, w_up=w_up, w_down=w_down)
    check_routing("moe", x, topk_weights=topk_weights, topk_ids=topk_ids)
    shapes = [tuple(t.shape) for t in (x, w_up, w_down, topk_weights, topk_ids)]
    if not _fit(*shapes):
        raise ValueError(
            "moe: expected x (T, D), w_up (E, 2 I, D), w_down (E, D, I), topk_weights and topk_ids"
            " (T, K); got {}, {}, {}, {} and {}".format(*shapes)
        )
    if x.is_cuda:
        from aot_kernels.gpu.moe import moe as on_gpu

        return on_gpu(x, w_up, w_down, topk_weights, topk_ids, constants)
    from aot_kernels.cpu.moe import moe as on_cpu

    return on_cpu(x, w_up, w_down, topk_weights, topk_ids, constants)


def check_routing(operation: str, like: torch.Tensor, **tensors: torch.Tensor) -> None:
    """Check that all are on one device, ids and counts integers, weights not.

    Raises TypeError, or ValueError for what requires a gradient.
    """
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor) or tensor.device != like.device:
            place = getattr(tensor, "device", type(tensor).__name__)
            raise TypeError(f"{operation}: {name} is on {place}, not on {like.device}")
        if tensor.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{operation}: {name} requires a gradient, which is not given")
        floating = name.endswith("weights")
        if not (tensor.is_floating_point() if floating else tensor.dtype in INTEGERS):
            wanted = "a floating dtype" if floating else "int32 or int64"
            raise TypeError(f"{operation}: {name} has to be of {wanted}, not {tensor.dtype}")


INTEGERS = (torch.int32, torch.int64)


def _fit(
    x: tuple[int, ...], up: tuple[int, ...], down: tuple[int, ...], *routing: tuple[int, ...]
) -> bool:
    if (len(x), len(up), len(down), len(routing[0])) != (2, 3, 3, 2) or routing[0] != routing[1]:
        return False
    matched = up == (down[0], 2 * down[2], x[1]) and down[1] == x[1]
    return matched and up[0] > 0 and routing[0][0] == x[0]
