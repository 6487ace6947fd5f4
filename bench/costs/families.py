"""The drivers of operator families: cold and warm, with one worker and with two."""

import csv
import importlib
import json
import os
import random
import statistics
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from costs.place import Place

FAMILIES = ("gemm", "moe", "grouped_moe", "chunk_gdn_h")
WORKERS = (1, 2)
HEAD = (
    "| driver | workers | cold | executed | artifacts | bytes | outside the compilers | warm |"
    " executed |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|"
)
COOL = 2.5
"""Seconds after which inputs are old enough for a snapshot."""


def measure_families(
    place: Place, runs: int, tables: Sequence[Path], limit: int | None
) -> Iterator[str]:
    """A line for each driver and number of workers; what none is declared of is said to be so."""
    from aot_kernels.drivers.family import order

    from aot_build.errors import InputError

    yield HEAD
    for family in FAMILIES:
        if tables and not _count(_functions(family), [*tables]):
            yield f"| {family} | no row of these tables is for it |"
            continue
        words = _words(place, family, tables, limit)
        try:
            asked = order(family, str(place.ours), [*map(str, tables)] or None, None)
        except InputError as error:
            yield f"| {family} | {error.message} |"
            continue
        for workers in WORKERS:
            command = [place.python, "-m", f"aot_kernels.{family}", "-j", str(workers), *words]
            yield _measured(place, command, f"{family} | {workers}", asked.folder, runs)


def _measured(place: Place, command: list[str], name: str, folder: str, runs: int) -> str:
    cold = place.cold(command)
    files = _artifacts(place.ours / "build" / "aot" / folder)
    time.sleep(COOL)
    place.timed(command, place.ours)
    summary = place.folder / "again.json"
    warm = [place.timed(command, place.ours, AOT_BUILD_SUMMARY=str(summary)) for _ in range(runs)]
    again = json.loads(summary.read_text())
    return (
        f"| {name} | {cold.wall:.1f} s | {cold.summary['executed']} | {len(files)} |"
        f" {sum(files):,} | {cold.outside:.1%} | {statistics.median(warm) * 1e3:.0f} ms |"
        f" {again['executed']} |"
    )


def _artifacts(folder: Path) -> list[int]:
    """The size of each file that the manifest names."""
    (manifest,) = folder.glob("*/_aot/manifest.json")
    kernels = json.loads(manifest.read_bytes())["kernels"].values()
    variants = [variant for kernel in kernels for variant in kernel["variants"]]
    return [file["size"] for variant in variants for file in variant["files"].values()]


# Rows of tables


def _words(place: Place, family: str, tables: Sequence[Path], limit: int | None) -> list[str]:
    """What tells a driver to read the tables, or as many of their rows as name so many variants."""
    if not tables:
        return []
    if limit is None:
        return ["--csv", *map(str, tables)]
    folder = place.folder / f"{family}-tables"
    folder.mkdir()
    return ["--csv", *map(str, _cut(_functions(family), tables, limit, folder))]


def _functions(family: str) -> list[Any]:
    """Those that list rows of tables for the family."""
    from aot_kernels.drivers.family import order

    from costs.place import CHECKOUT

    names = order(family, str(CHECKOUT), [__file__], None).kernels
    declared = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["aot-build"]
    found = []
    for kernel in declared["kernels"]:
        for source in kernel["configs"] if kernel["name"] in names else ():
            module, _, function = source.partition(":")
            found.append(getattr(importlib.import_module(module), function))
    return found


def _cut(functions: list[Any], tables: Sequence[Path], limit: int, folder: Path) -> list[Path]:
    """Copies of the tables with rows taken at random, always the same ones: as many as name no
    more than `limit` variants."""
    read = [list(csv.reader(path.open(encoding="utf-8-sig", newline=""))) for path in tables]
    rows = [(number, row) for number, (_, *found) in enumerate(read) for row in found if row]
    random.Random(0).shuffle(rows)
    paths = [folder / f"{number}-{path.name}" for number, path in enumerate(tables)]
    few, many = 0, len(rows) + 1
    while many - few > 1:
        middle = (few + many) // 2
        _write(paths, read, rows[:middle])
        few, many = (few, middle) if _count(functions, paths) > limit else (middle, many)
    _write(paths, read, rows[:few])
    return paths


def _write(paths: list[Path], read: list[list[list[str]]], rows: list[tuple[int, Any]]) -> None:
    for number, path in enumerate(paths):
        with path.open("w", newline="") as stream:
            kept = [row for table, row in rows if table == number]
            csv.writer(stream).writerows([read[number][0], *kept])


def _count(functions: list[Any], paths: list[Path]) -> int:
    import warnings

    from aot_kernels.drivers.family import TARGETS
    from aot_kernels.tuned import VARIABLE

    os.environ[VARIABLE] = os.pathsep.join(map(str, paths))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return sum(len(list(function(list(TARGETS)))) for function in functions)
    finally:
        del os.environ[VARIABLE]
