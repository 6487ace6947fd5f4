"""Kernels that are looked up by name, target and row: libraries, and whatever has no launches of
its own."""

import ctypes
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from aot_build.backends.lookups import place
from aot_build.backends.lookups.shelf import Shelf, label_of
from aot_build.core.inquiry import Inquiry
from aot_build.rows import RuntimeRow

LIBRARIES = ("cpp",)
"""Backends whose artifacts this process can open."""


def look_up(asked: Inquiry, shelf: Shelf) -> Iterator[RuntimeRow]:
    """A row for each declared row."""
    for row in asked.rows:
        yield look_up_row(asked, shelf, row)


def look_up_row(asked: Inquiry, shelf: Shelf, row: Mapping[str, Any]) -> RuntimeRow:
    """What `_aot.get` says of one row. A library that this processor runs is opened."""
    aot = place.runtime(asked.around)
    shelf.reach_row(row)
    found = RuntimeRow(asked.kernel, label_of(row), asked.target, "found")
    try:
        artifact = aot.get(asked.kernel, asked.target, **row)
    except aot.KernelNotFound as error:
        nearest, changes = shelf.nearest(row)
        text = str(error).splitlines()[0]
        return replace(found, verdict="missing", detail=text, nearest=nearest, changes=changes)
    if asked.backend not in LIBRARIES or not _runs_here(asked, aot):
        return found
    try:
        ctypes.CDLL(artifact.path)
    except OSError as error:
        return replace(found, verdict="failed", detail=f"it does not load: {error}")
    return replace(found, ran="loaded")


def _runs_here(asked: Inquiry, aot: Any) -> bool:
    machine = place.internals(asked.around, "_devices").machine_of("cpu", [asked.target])
    return bool(aot.compatible([asked.target], machine))
