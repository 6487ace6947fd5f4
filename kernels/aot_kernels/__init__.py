"""Kernels for torch tensors, compiled ahead of time: `gemm` and `rmsnorm`.

Importing this package imports neither torch nor a kernel; the first call of a function does.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aot_kernels.cpu.gemm import gemm
    from aot_kernels.cpu.rmsnorm import rmsnorm

__all__ = ["gemm", "rmsnorm"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    function = getattr(import_module(f"{__name__}.cpu.{name}"), name)
    globals()[name] = function
    return function


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
