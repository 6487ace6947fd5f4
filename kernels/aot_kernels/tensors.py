"""What every operation asks of its tensors."""

from typing import Any

import torch

DTYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
"""The dtypes that there are kernels for, and how rows call them."""


def check(operation: str, **tensors: torch.Tensor) -> None:
    """Check that all are plain tensors of one supported dtype, on one CPU or GPU.

    Raises TypeError for what is no such tensor, ValueError for one that requires a gradient.
    """
    # What is no tensor is refused below, in its turn.
    first: Any = next(iter(tensors.values()))
    dtype, device = getattr(first, "dtype", None), getattr(first, "device", None)
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{operation}: {name} is a {type(tensor).__name__}, not a torch.Tensor")
        served = tensor.is_cpu or tensor.is_cuda
        if not served or tensor.device != device or tensor.layout is not torch.strided:
            raise TypeError(
                f"{operation}: {name} is a {tensor.layout} tensor on {tensor.device};"
                " only dense tensors, all on the CPU or all on one GPU, are supported"
            )
        if tensor.dtype is not dtype or dtype not in DTYPES:
            raise TypeError(_dtypes(operation, tensors))
        if tensor.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"{operation}: {name} requires a gradient, which this kernel does not give;"
                " call it under torch.no_grad()"
            )


def _dtypes(operation: str, tensors: dict[str, torch.Tensor]) -> str:
    given = ", ".join(f"{name}: {getattr(t, 'dtype', type(t))}" for name, t in tensors.items())
    known = ", ".join(map(str, DTYPES))
    return f"{operation}: tensors have to share one dtype of {known}; got {given}"
