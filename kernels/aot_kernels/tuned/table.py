"""What the tables of all families share: which files, which target, whose rows, what is broken.

The format is that of ROCm/aiter's tuned tables: a header, then a row for each shape, its
`kernelName` (or two) saying what to compile in a notation of the library's own. `gfx` names the
target; in older tables the number of compute units, `cu_num`, does.
"""

import csv
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from aot_kernels.tuned import VARIABLE

SHIPPED = Path(__file__).parent
ARCH_OF_COMPUTE_UNITS = {"80": "gfx942", "304": "gfx942", "256": "gfx950"}
DTYPES = {
    "torch.bfloat16": "bf16", "torch.float16": "fp16", "torch.float32": "fp32",
    "torch.float8_e4m3fn": "fp8", "torch.float8_e4m3fnuz": "fp8", "torch.int8": "int8",
    "torch.float4_e2m1fn_x2": "fp4",
}  # fmt: skip
"""What tables call types, and how rows do. Which fp8 it is follows from the target."""
NUMBER = re.compile(r"0*[1-9][0-9]{0,17}")
SHOWN = 80
"""Characters of a cell that a message has."""
FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

ALIKE = 0.8
"""Of two names, from which on one is taken for the other misspelt."""

T = TypeVar("T")
Made = Mapping[str, object]
"""What a row becomes: columns of a variant."""


class Broken(ValueError):
    """A row that cannot be made out; the text says why, without the place."""


class Foreign(Exception):
    """A row of another library; the text names it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table. Its methods raise Broken."""

    values: Mapping[str, str]
    where: str
    """`file:line`; the whole path where another table has the name as well."""

    def text(self, column: str, default: str | None = None) -> str:
        """What stands in a column; the default where nothing does."""
        found = self.values.get(column, "").strip() or default
        if found is None:
            raise Broken(f"nothing in column {column!r}")
        return found

    def number(self, column: str, default: int | None = None) -> int:
        """An integer above 0, or the default where nothing stands there."""
        found = self.text(column, None if default is None else str(default))
        if not NUMBER.fullmatch(found):
            raise Broken(f"{column} is no number: {found[:SHOWN]!r}")
        return int(found)

    def flag(self, column: str, default: bool | None = None) -> bool:
        """True or False, however it is spelt."""
        found = self.text(column, None if default is None else str(default))
        return one_of(column, found.lower(), FLAGS)

    def dtype(self, column: str) -> str:
        """A type as rows call it: bf16, fp8, ..."""
        return one_of(column, self.text(column), DTYPES)

    def check_type(self, column: str, kind: str) -> None:
        """Where a column says a type, it is the one that the kernel's name says."""
        if self.text(column, "") and self.dtype(column) != kind:
            raise Broken(f"{column} is {self.text(column)}, but the kernel's name says {kind}")

    def target(self, known: Sequence[str]) -> str:
        """The target, such as `hip:gfx950`; one of those that are known."""
        arch = self.text("gfx", "")
        if not arch:
            arch = one_of("cu_num", self.text("cu_num"), ARCH_OF_COMPUTE_UNITS)
        if f"hip:{arch}" not in known:
            raise Broken(f"unsupported target {arch!r}; known: {', '.join(known)}")
        return f"hip:{arch}"


def one_of(column: str, word: str, known: Mapping[str, T]) -> T:
    """What a word stands for. Raises Broken, naming those that there are."""
    if word not in known:
        raise Broken(f"unknown {column} {word!r}; known: {', '.join(known)}")
    return known[word]


def rows(
    columns: Iterable[str],
    known: Sequence[str],
    make: Callable[[Row], Iterable[Made]],
    targets: Sequence[str],
) -> Iterator[Made | ValueError]:
    """Each distinct variant of the tables that have these columns, with its `target`.

    `make` says what a row becomes, without the target, one of `known`; it raises Foreign for a
    row of another library, Broken for one that is wrong. A broken row is yielded as an error that
    names file and line, unless it is of a target other than `targets`, which are built; those,
    and others' rows, are counted in a warning each. Where none of the tables that
    were named has the columns, which another kernel's may be, a warning says so; a table that has
    them but for spelling is broken. Raises OSError where a table cannot be read.
    """
    needed, seen, foreign, elsewhere = set(columns), set(), Counter[str](), 0
    yield from _misspelt(needed)
    mine = [path for path in dict.fromkeys(tables()) if _has(_header(path), needed)]
    if not mine and VARIABLE in os.environ:
        missing = f"none of the tables has the columns {', '.join(sorted(needed))}"
        warnings.warn(missing, stacklevel=2)
    named = Counter(path.name for path in mine)
    labels = {path: path.name if named[path.name] == 1 else str(path) for path in mine}
    for row in (row for path in mine for row in _read(path, labels[path])):
        if isinstance(row, ValueError):
            yield row
            continue
        try:
            made = [{**each, "target": row.target(known)} for each in make(row)]
        except Foreign as other:
            foreign[str(other)] += 1
            continue
        except Broken as error:
            if _is_of(row, known, targets):
                yield ValueError(f"{row.where}: {error}")
            else:
                elsewhere += 1
            continue
        for variant in made:
            key = frozenset(variant.items())
            if key not in seen:
                seen.add(key)
                yield variant
    if foreign:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(foreign.items()))
        left_out = _counted(foreign.total(), "row")
        warnings.warn(f"left out {left_out} of other libraries: {counts}", stacklevel=2)
    if elsewhere:
        broken = _counted(elsewhere, "broken row")
        warnings.warn(f"left out {broken} of other targets", stacklevel=2)


def _is_of(row: Row, known: Sequence[str], targets: Sequence[str]) -> bool:
    """Whether a row is of one of the targets, or of none that is known."""
    try:
        return row.target(known) in targets
    except Broken:
        return True


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _has(header: Sequence[str], needed: Iterable[str]) -> bool:
    return all(header.count(name) == 1 for name in needed)


def _misspelt(needed: set[str]) -> Iterator[ValueError]:
    """Of tables that have other columns in the place of all that they lack: nobody reads those.
    Of two columns of one name, which one is meant is not known."""
    for path in dict.fromkeys(tables()):
        header = {*_header(path)}
        if twice := sorted(n for n in header & needed if _header(path).count(n) > 1):
            yield ValueError(f"{path.name}: two columns are named {twice[0]!r}")
        others = {name.strip().lower(): name for name in sorted(header - needed)}
        close = {n: get_close_matches(n.lower(), others, 1, ALIKE) for n in needed - header}
        if close and all(close.values()):
            lacks = ", ".join(f"{n!r}, has {others[f]!r}" for n, (f,) in sorted(close.items()))
            yield ValueError(f"{path.name}: the header lacks {lacks}")


def tables() -> list[Path]:
    """The tables that there are, by name; those that the variable names, in its order."""
    named = os.environ.get(VARIABLE)
    if named is None:
        return sorted(SHIPPED.glob("*.csv"))
    return [Path(name) for name in named.split(os.pathsep) if name]


def _header(path: Path) -> list[str]:
    _, found = next(_cells(path), (0, []))
    return found if isinstance(found, list) else []


def _read(path: Path, label: str) -> Iterator[Row | ValueError]:
    cells, header = _cells(path), _header(path)
    next(cells)
    for line, found in cells:
        where = f"{label}:{line}"
        if isinstance(found, list):
            # Real tables have rows without their last columns.
            yield Row(dict(zip(header, found, strict=False)), where)
        else:
            yield ValueError(f"{where}: {found}")


def _cells(path: Path) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """The rows that hold anything, each with its line, or what is wrong there; the header first.

    A quote ends with its line: one that nobody closed must not take the rows after it along.
    """
    # A byte that is no text costs the row that it stands in.
    with open(path, encoding="utf-8-sig", errors="backslashreplace", newline="") as stream:
        for number, line in enumerate(stream, 1):
            if line.lstrip().startswith("#"):
                continue
            try:
                found = next(csv.reader([line], strict=True), [])
            except csv.Error as error:
                yield number, error
                continue
            if found:
                yield number, found
