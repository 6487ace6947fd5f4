"""The variants of a kernel that a GPU can run, and how one is launched."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch

FUSION = {"enable_fp_fusion": True}
"""As it was compiled with; said, because Triton's default differs between versions."""
TYPES = frozenset({"dtype", "out", "snapshot", "state"})
"""Columns that say of what type tensors are, and so stand in signatures alone."""


@dataclass(frozen=True, eq=False)
class Variant:
    """A row, and what was compiled for it: nothing where Triton itself has to."""

    row: Mapping[str, Any]
    artifact: Any = None

    def launch(
        self, function: Any, device: torch.device, grid: tuple[int, ...], arguments: dict[str, Any]
    ) -> None:
        """Launch on the device's current stream; `arguments` are those that are no constants.

        Without a function it is launched by what the artifact itself knows.
        """
        with _current(device):
            if function is None:
                _loaded(self.artifact, device).launch(grid, **arguments)
            else:
                constants = {name: v for name, v in self.row.items() if name not in TYPES}
                function[grid](**arguments, **constants, **FUSION)


@dataclass(frozen=True)
class Kernel:
    """A kernel as the build names it."""

    name: str
    source: str
    """`module:function`; its module imports Triton."""
    spare: tuple[tuple[tuple[str, Any], ...], ...] = ()
    """Rows that any GPU can run, for one that nothing is shipped for."""

    def shipped(self, device: torch.device, dtype: str, **columns: Any) -> tuple[Variant, ...]:
        """Those of one dtype, and of these columns, that are shipped for the device."""
        wanted = {"dtype": dtype, **columns}.items()
        return tuple(v for v in all_shipped(self.name, device) if wanted <= v.row.items())

    def variants(self, device: torch.device, dtype: str, **columns: Any) -> tuple[Variant, ...]:
        """Those that are shipped, or the spare ones where none is.

        Raises `_aot.KernelNotFound` where none is shipped, and Triton is not installed or may not
        compile (`AOT_RUNTIME=strict`).
        """
        found = self.shipped(device, dtype, **columns)
        if found:
            return found
        aot = _aot()
        if self.function is None or (aot is not None and aot.strict()):
            # Both raise, and say what is missing.
            wanted = {"dtype": dtype, **columns}
            import_module("triton") if aot is None else aot.select(self.name, device, **wanted)
        return tuple(Variant({"dtype": dtype, **columns, **dict(row)}) for row in self.spare)

    @property
    def function(self) -> Any:
        """The function in Triton's language; None where Triton is not installed."""
        return _function(self.source)


@cache
def all_shipped(name: str, device: torch.device) -> tuple[Variant, ...]:
    """All that is shipped and the device can run, best target first."""
    aot = _aot()
    if aot is None:
        return ()
    try:
        return tuple(Variant(a.row, a) for a in aot.table(name, device).values())
    except aot.KernelNotFound:
        return ()


def _aot() -> ModuleType | None:
    """What the package ships; None in a source tree where nothing was built."""
    try:
        return import_module("aot_kernels._aot")
    except ModuleNotFoundError:
        return None


@cache
def _function(source: str) -> Any:
    module, _, name = source.partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        return None


@cache
def _loaded(artifact: Any, device: torch.device) -> Any:
    return artifact.load(device)


def _current(device: torch.device) -> AbstractContextManager[Any]:
    """Triton launches on the current device, whatever device its arguments are on."""
    made: Callable[[torch.device], AbstractContextManager[Any]] = torch.cuda.device
    return made(device) if device.type == "cuda" else nullcontext()
