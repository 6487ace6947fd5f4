"""Kernels for torch tensors, compiled ahead of time; `__all__` names them.

Importing this package imports neither torch nor a kernel; the first call of a function does.
"""

from importlib import import_module

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than all of this
if TYPE_CHECKING:
    from aot_kernels.operations.chunk_gdn_h import chunk_gdn_h
    from aot_kernels.operations.gemm import gemm
    from aot_kernels.operations.gemm_a8w8 import gemm_a8w8, shuffle_weight
    from aot_kernels.operations.grouped_moe import grouped_gemm, grouped_moe
    from aot_kernels.operations.moe import moe
    from aot_kernels.operations.norm import add_rmsnorm, rmsnorm

__all__ = [
    "add_rmsnorm",
    "chunk_gdn_h",
    "gemm",
    "gemm_a8w8",
    "grouped_gemm",
    "grouped_moe",
    "moe",
    "rmsnorm",
    "shuffle_weight",
]

_PLACES = {
    "add_rmsnorm": "norm",
    "chunk_gdn_h": "chunk_gdn_h",
    "gemm": "gemm",
    "gemm_a8w8": "gemm_a8w8",
    "grouped_gemm": "grouped_moe",
    "grouped_moe": "grouped_moe",
    "moe": "moe",
    "rmsnorm": "norm",
    "shuffle_weight": "gemm_a8w8",
}
"""Each operation, and its module in `aot_kernels.operations`."""


def _operation(name: str) -> object:
    """The function itself. Raises AttributeError where there is none of that name."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"aot_kernels.operations.{_PLACES[name]}")
    function: object = getattr(module, name)
    return function


def __getattr__(name: str) -> object:
    function = globals()[name] = _operation(name)
    return function


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
