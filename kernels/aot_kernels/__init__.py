"""Kernels for torch tensors, compiled ahead of time: `gemm`, `rmsnorm` and `add_rmsnorm`.

Importing this package imports neither torch nor a kernel; the first call of a function does.
"""

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than all of this
if TYPE_CHECKING:
    from aot_kernels.operations import add_rmsnorm, gemm, rmsnorm

__all__ = ["add_rmsnorm", "gemm", "rmsnorm"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from aot_kernels import operations

    function: object = getattr(operations, name)
    globals()[name] = function
    return function


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
