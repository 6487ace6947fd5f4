"""A declared kernel family, and one row of its configs for one target."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aot_build.core.target import Target

Scalar = int | float | bool | str | None
Value = Scalar | tuple["Value", ...]
Row = tuple[tuple[str, Value], ...]
"""Column names and values, sorted by name, so that column order never matters."""


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """One `[[tool.aot-build.kernels]]` table, resolved; paths are relative to the project."""

    name: str
    backend: str
    source: tuple[str, ...]
    targets: tuple[Target, ...]
    configs: tuple[object, ...] = ()
    include_dirs: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    link_flags: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    timeout: float | None = None
    retries: int | None = None
    memory: int | None = None
    required: bool = True
    """Whether it must not be left out where its toolchain is not found."""
    options: tuple[tuple[str, Value], ...] = ()
    """The backend's own keys (kebab-case), sorted by name."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One specialisation of a kernel for one target."""

    kernel: KernelSpec = field(repr=False)
    row: Row
    target: Target
    where: str = field(default="", compare=False)
    """File and line (or declaration) that the row was read from: for messages only."""
    source: tuple[str, ...] = ()
    """The sources of this row: the kernel's, extended by the row's own."""
    flags: tuple[str, ...] = ()
    include_dirs: tuple[str, ...] = ()
    link_flags: tuple[str, ...] = ()
    findings: Row = ()
    """What its backend's analysis found out about it; part of what is keyed."""
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)
    """Ships with its artifact, and shapes no byte of it: JSON values."""

    @property
    def label(self) -> str:
        """The row for humans: `BLOCK=128, T=float`."""
        return ", ".join(f"{name}={show_value(value)}" for name, value in self.row) or "-"


def show_value(value: Value) -> str:
    """A value as a person writes it."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(show_value, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
