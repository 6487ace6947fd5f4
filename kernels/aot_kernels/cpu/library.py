"""Shipped shared libraries as functions, and what every launcher checks of its tensors."""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, cast

import torch

DTYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
"""The dtypes that there are kernels for, and the value of the column DTYPE."""


@cache
def _open(path: str) -> ctypes.CDLL:
    return ctypes.CDLL(path)


def function(
    kernel: str, symbol: str, arguments: Sequence[type], row: dict[str, object]
) -> Callable[..., None]:
    """The C function of a shipped variant, for the best target that this CPU has.

    Calling it releases the GIL. Raises `_aot.KernelNotFound` where the row was not shipped, and
    OSError where the library does not load.
    """
    from aot_kernels import _aot

    found = getattr(_open(str(_aot.select(kernel, "cpu", **row).path)), symbol)
    found.argtypes = list(arguments)
    found.restype = None
    return cast(Callable[..., None], found)


def check(kernel: str, **tensors: torch.Tensor) -> str:
    """Check that all are plain CPU tensors of one supported dtype; the value of the column DTYPE.

    Raises TypeError for what is no such tensor, ValueError for one that requires a gradient.
    """
    # What is no tensor is refused below, in its turn.
    dtype: Any = getattr(next(iter(tensors.values())), "dtype", None)
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{kernel}: {name} is a {type(tensor).__name__}, not a torch.Tensor")
        if not tensor.is_cpu or tensor.layout is not torch.strided:
            raise TypeError(
                f"{kernel}: {name} is a {tensor.layout} tensor on {tensor.device};"
                " only dense tensors on the CPU are supported"
            )
        if tensor.dtype is not dtype or dtype not in DTYPES:
            raise TypeError(_dtypes(kernel, tensors))
        if tensor.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"{kernel}: {name} requires a gradient, which this kernel does not give;"
                " call it under torch.no_grad()"
            )
    column: str = DTYPES[dtype]
    return column


def _dtypes(kernel: str, tensors: dict[str, torch.Tensor]) -> str:
    given = ", ".join(f"{name}: {getattr(t, 'dtype', type(t))}" for name, t in tensors.items())
    known = ", ".join(map(str, DTYPES))
    return f"{kernel}: tensors have to share one dtype of {known}; got {given}"
