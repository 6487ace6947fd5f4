"""What a worker is to look up in what a package ships, the way its users' processes would."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all inquiries of one examination share: absolute paths throughout."""

    package: str
    """Import package that ships the kernels."""
    tree: str
    """Its folder `_aot`, with the manifest."""
    roots: tuple[str, ...]
    """Go first on the import path: where the package itself lies. None for an installed one."""
    path: tuple[str, ...]
    """The import path after them, without the folder that the command stands in."""
    scratch: str
    """Empty and existing; each worker makes a folder of its own there."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One kernel for one target. Rows are as declared; a list in one is a tuple."""

    around: Surroundings
    kernel: str
    backend: str
    target: str
    source: str = ""
    """`module:attribute`, or the first file; empty for a kernel that is not declared any more."""
    options: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    """What the declaration sets for its functions, paths in it absolute."""
    rows: tuple[dict[str, Any], ...] = ()
    places: tuple[str, ...] = ()
    """File and line (or declaration) of each row."""
