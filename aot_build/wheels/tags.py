"""Wheel tags: what an artifact needs of the interpreter that loads it."""

from __future__ import annotations

import json
from pathlib import Path

from aot_build.layout import MANIFEST

Tag = tuple[str, str, str]
"""Python tag, ABI tag, platform tag."""

INTERPRETER_BOUND = frozenset({"flydsl"})
"""Backends whose artifacts only the interpreter that built them can load."""


def wheel_tag(usual: Tag, python_tag: str, result: Path | None) -> Tag:
    """The tag of a wheel that has artifacts and no extension module.

    `usual` is what setuptools gives to a wheel for this interpreter and platform; `result` the
    folder of a finished build, None before one has ended. Artifacts are for a platform and need
    no particular Python; a finished build without any leaves a wheel that installs anywhere.
    """
    if result is None:
        return python_tag, "none", usual[2]
    kernels = json.loads((result / MANIFEST).read_bytes())["kernels"]
    if not any(kernel["variants"] for kernel in kernels.values()):
        return python_tag, "none", "any"
    if any(kernel["backend"] in INTERPRETER_BOUND for kernel in kernels.values()):
        return usual
    return python_tag, "none", usual[2]
