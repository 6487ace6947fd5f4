"""Packages with shipped kernels, as wheels lay them out."""

import shutil
from pathlib import Path

import aot_build.runtime
from aot_build.layout import RUNTIME


def lay_out(root: Path) -> None:
    """Copy the runtime into a folder `_aot`, as a build does."""
    root.mkdir(parents=True, exist_ok=True)
    for name in RUNTIME:
        shutil.copy(Path(aot_build.runtime.__file__).parent / name, root)
