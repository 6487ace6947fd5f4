"""Shipped shared libraries as functions."""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import cast


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
    # Not at the top: a package that is not built has none.
    aot = import_module("aot_kernels._aot")
    found = getattr(_open(str(aot.select(kernel, "cpu", **row).path)), symbol)
    found.argtypes = list(arguments)
    found.restype = None
    return cast(Callable[..., None], found)
