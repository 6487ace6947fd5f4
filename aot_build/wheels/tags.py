"""Wheel tags: what an artifact needs of the interpreter that loads it."""

from __future__ import annotations

import json
from pathlib import Path

from aot_build.layout import MANIFEST

Tag = tuple[str, str, str]
"""Python tag, ABI tag, platform tag."""

INTERPRETER_BOUND = frozenset({"flydsl"})
"""Backends whose artifacts only the interpreter that built them can load."""


def wheel_tag(usual: Tag, python_tag: str, result: Path | None, *, extensions: bool = False) -> Tag:
    """The tag of a wheel that has artifacts.

    `usual` is what setuptools gives to a wheel for this interpreter and platform; `result` the
    folder of a finished build, None before one has ended. Artifacts are for a platform and need
    no particular Python; a finished build without any leaves a wheel that installs anywhere. With
    `extensions`, extension modules ship as well, which `usual` speaks for.
    """
    if result is None:
        return usual if extensions else (python_tag, "none", usual[2])
    kernels = json.loads((result / MANIFEST).read_bytes())["kernels"].values()
    if any(kernel["backend"] in INTERPRETER_BOUND for kernel in kernels if kernel["variants"]):
        return bound_tag(usual)
    if extensions:
        return usual
    any_variant = any(kernel["variants"] for kernel in kernels)
    return python_tag, "none", usual[2] if any_variant else "any"


def bound_tag(usual: Tag) -> Tag:
    """The tag of a wheel for this interpreter alone, also where the project asks for abi3."""
    if usual[1] not in ("abi3", "none"):
        return usual
    from packaging.tags import sys_tags

    exact = next(sys_tags())
    return exact.interpreter, exact.abi, usual[2]
