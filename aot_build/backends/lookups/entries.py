"""FlyDSL's launches, served from what ships: by its own look-up, where it may not compile.

The function of a kernel is called for its rows again, with `FLYDSL_RUNTIME_RUN_ONLY=1` and on a
cache folder that the runtime has just filled. Entries are `<function>_<32 hex>/<16 hex>.pkl`; of
one that is not there FlyDSL says by which keys it looked.
"""

import importlib.metadata
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from aot_build.backends.flydsl.entries import name_of_call
from aot_build.backends.flydsl.environment import ARCH, COMPILE_ONLY
from aot_build.backends.lookups import place
from aot_build.backends.lookups.shelf import Shelf, change, changes_of, label_of
from aot_build.backends.python import find_attribute
from aot_build.core.inquiry import Inquiry
from aot_build.core.target import parse_target
from aot_build.rows import ChangeRow, RuntimeRow

RUN_ONLY = "FLYDSL_RUNTIME_RUN_ONLY"
UNSET = ("FLYDSL_AUTOTUNE", "FLYDSL_DEBUG_DUMP_ASM", "FLYDSL_DUMP_IR", "HSA_OVERRIDE_GFX_VERSION")
"""With these it would compile, or look under another architecture."""
INSTALLER = "{}._aot._flydsl"
"""The runtime's module that is imported by installing FlyDSL entries, and by nothing else."""
_ENTRY = re.compile(r"(.+)_([0-9a-f]{32})/([0-9a-f]{16})\.pkl")
_MISS = re.compile(r"no usable AOT cache for (\S+): manager_key=(\w+), cache_key=(.*?)\.\.\., ")
MANAGER = "source of {} or flydsl itself (manager key)"
ARGUMENTS = "arguments, target or environment of {} (cache key)"


def look_up(asked: Inquiry, shelf: Shelf) -> Iterator[RuntimeRow]:
    """A row for each declared row."""
    arch = parse_target(asked.target).arch
    for name in UNSET:
        os.environ.pop(name, None)
    os.environ |= {RUN_ONLY: "1", COMPILE_ONLY: "1", **dict.fromkeys(ARCH, arch)}
    # A package that installs what it ships could not be imported if one entry were refused.
    patient = os.environ.pop("AOT_RUNTIME")
    aot, refused = place.runtime(asked.around), ""
    function = find_attribute(asked.source)
    # Not by the folder of the entries: a package may name one, and fill it from nowhere.
    shelf.installed = INSTALLER.format(asked.around.package) in sys.modules
    os.environ["AOT_RUNTIME"], aot._state.strict = patient, None
    try:
        aot.install()
    except aot.KernelNotFound as error:
        # What of it concerns the rows at hand, their own look-ups tell.
        refused = str(error).partition("would compile anew: ")[2] or str(error)
    calls = _Calls()
    calls.watch()
    for row in asked.rows:
        shelf.reach_row(row)
        yield _looked_up(asked, shelf, function, row, calls, refused)


def _looked_up(
    asked: Inquiry,
    shelf: Shelf,
    function: Any,
    row: Mapping[str, Any],
    calls: "_Calls",
    refused: str,
) -> RuntimeRow:
    found = RuntimeRow(asked.kernel, label_of(row), asked.target, "found")
    calls.count, calls.misses = 0, []
    problem = ""
    try:
        function(os.getcwd(), asked.target, **row)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    if calls.misses:
        detail = refused or f"FlyDSL finds no entry for {calls.misses[0][0]}"
        nearest, changes = _nearest(shelf, row, calls.misses[0])
        return replace(found, verdict="compiles", detail=detail, nearest=nearest, changes=changes)
    if not problem and not calls.count:
        problem = "the function launched no FlyDSL kernel"
    return replace(found, verdict="failed", detail=problem) if problem else found


class _Calls:
    """Counts the launches of this process, and keeps what those say that are not served, as some
    functions pass over errors."""

    def __init__(self) -> None:
        self.count = 0
        self.misses: list[tuple[str, str, str]] = []
        """Function, manager key and the beginning of the cache key."""

    def watch(self) -> None:
        """From here on."""
        from flydsl.compiler.jit_function import JitFunction

        name = name_of_call(JitFunction)
        call = getattr(JitFunction, name)

        def called(*args: Any, **options: Any) -> Any:
            self.count += 1
            try:
                return call(*args, **options)
            except RuntimeError as error:
                if told := _MISS.search(str(error)):
                    self.misses.append((told[1], told[2], told[3]))
                raise

        setattr(JitFunction, name, called)


def _nearest(
    shelf: Shelf, row: Mapping[str, Any], miss: tuple[str, str, str]
) -> tuple[str, tuple[ChangeRow, ...]]:
    """The shipped entry of the function whose keys and row differ least, and in what."""
    function, manager, key = miss
    found: list[tuple[int, str, tuple[ChangeRow, ...]]] = []
    for variant in shelf.variants:
        columns = changes_of(variant["row"], row)
        for name in variant["files"]:
            told = _ENTRY.fullmatch(name)
            if told is None or told[1] != function:
                continue
            changes = [*_versions(variant), *columns]
            if told[2] != manager:
                changes.append(change(MANAGER.format(function), told[2], manager))
            else:
                changes.append(change(ARGUMENTS.format(function), told[3], key))
            found.append((len(changes), label_of(variant["row"]), tuple(changes)))
    if not found:
        return shelf.nearest(row)
    _, label, nearest = min(found, key=lambda each: each[0])
    return label, nearest


def _versions(variant: Mapping[str, Any]) -> Iterator[ChangeRow]:
    was = str(variant["metadata"].get("flydsl", {}).get("version", ""))
    now = importlib.metadata.version("flydsl")
    if was and was != now:
        yield change("flydsl", was, now)
