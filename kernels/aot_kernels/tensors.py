"""What every operation asks of its tensors."""

from collections.abc import Collection
from typing import Any

import torch

DTYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
"""The dtypes that there are kernels for, and how rows call them."""


def check(operation: str, **tensors: torch.Tensor) -> None:
    """Check that all are plain tensors of one supported dtype, on one CPU or GPU.

    Raises TypeError for what is no such tensor, ValueError for one that requires a gradient.
    """
    check_places(operation, **tensors)
    dtypes = {tensor.dtype for tensor in tensors.values()}
    if len(dtypes) > 1 or not dtypes <= DTYPES.keys():
        given = ", ".join(f"{name}: {tensor.dtype}" for name, tensor in tensors.items())
        known = ", ".join(map(str, DTYPES))
        raise TypeError(f"{operation}: tensors have to share one dtype of {known}; got {given}")


def check_places(operation: str, **tensors: torch.Tensor) -> None:
    """Check that all are plain tensors, on one CPU or GPU; as `check`, but for dtypes."""
    # What is no tensor is refused below, in its turn.
    first: Any = next(iter(tensors.values()))
    device = getattr(first, "device", None)
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{operation}: {name} is a {type(tensor).__name__}, not a torch.Tensor")
        served = tensor.is_cpu or tensor.is_cuda
        if not served or tensor.device != device or tensor.layout is not torch.strided:
            raise TypeError(
                f"{operation}: {name} is a {tensor.layout} tensor on {tensor.device};"
                " only dense tensors, all on the CPU or all on one GPU, are supported"
            )
        if tensor.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"{operation}: {name} requires a gradient, which this kernel does not give;"
                " call it under torch.no_grad()"
            )


def check_dtype(
    operation: str, name: str, found: torch.dtype, known: Collection[torch.dtype]
) -> None:
    """Check one dtype. Raises TypeError, naming those that there are."""
    if found not in known:
        listed = ", ".join(map(str, known))
        raise TypeError(f"{operation}: {name} has to be of {listed}; got {found}")
