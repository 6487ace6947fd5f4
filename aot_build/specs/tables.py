"""Rows out of csv, json and toml files, each with its line."""

import csv
import io
import math
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from aot_build.core.kernel import Value
from aot_build.errors import InputError, did_you_mean
from aot_build.specs.json_rows import read_json
from aot_build.specs.row import RawRow, expanded, malformed

INTEGER = re.compile(r"0|-?[1-9]\d*", re.ASCII)
FLOAT = re.compile(
    r"-?(?:(?:(?:0|[1-9]\d*)\.\d*|\.\d+)(?:[eE][+-]?\d+)?|(?:0|[1-9]\d*)[eE][+-]?\d+)", re.ASCII
)
LONGEST_INTEGER = 300
"""Digits; beyond it is text. Python itself refuses to read more than 4,300."""


def read_table(file: Path, name: str) -> list[RawRow]:
    """All rows of a file, by its suffix; `name` is how messages call it. Raises InputError."""
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        hint = did_you_mean(file.suffix or "none", READERS)
        raise InputError(f"rows cannot be read from {name!r}: unknown suffix", None, hint)
    return list(reader(_text(file, name), name))


def _text(file: Path, name: str) -> str:
    """UTF-8, with or without a byte order mark: spreadsheets write one."""
    raw = file.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        byte = f"0x{raw[error.start]:02x}"
        raise malformed("not UTF-8", name, line, byte=byte) from None


def cell(text: str) -> Value:
    """The typed value of a csv cell: integer, float, boolean (any case), else the text itself.

    What does not read back as written stays text: leading zeros, a plus sign, underscores.
    """
    plain = text.strip()
    if INTEGER.fullmatch(plain) and len(plain) <= LONGEST_INTEGER:
        return int(plain)
    if FLOAT.fullmatch(plain) and math.isfinite(float(plain)):
        return float(plain)
    if plain.lower() in ("true", "false"):
        return plain.lower() == "true"
    return text


def read_csv(text: str, name: str) -> Iterator[RawRow]:
    """Rows of a csv file with a header; empty cells are absent columns, empty lines no rows.

    A row with more or fewer cells than the header is an error: where one is missing in the middle,
    the values after it would stand in the wrong columns.
    """
    header: list[str] | None = None
    for line, cells in _records(text, name):
        if not any(c.strip() for c in cells):
            continue
        if header is None:
            header = _header(cells, name, line)
            continue
        if len(cells) != len(header):
            counts = {"header": f"{len(header)} columns", "row": f"{len(cells)} cells"}
            which = "more" if len(cells) > len(header) else "fewer"
            raise malformed(f"a row has {which} cells than its header", name, line, **counts)
        pairs = zip(header, cells, strict=True)
        values = {column: cell(c) for column, c in pairs if c.strip()}
        yield RawRow(values, f"{name}:{line}")


def _records(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line it begins on: a quoted cell may span several."""
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise malformed("not valid csv", name, line, error=error) from None


def _header(cells: list[str], name: str, line: int) -> list[str]:
    header = [c.strip() for c in cells]
    for index, column in enumerate(header):
        if not column:
            raise malformed(f"column {index + 1} has no name", name, line)
        if column in header[:index]:
            raise malformed(f"two columns are named {column!r}", name, line)
    return header


def read_toml(text: str, name: str) -> Iterator[RawRow]:
    """Rows of `[[rows]]`, or of the only array of tables at the top."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        last = text.count("\n") + 1
        raise malformed(
            "not valid TOML", name, int(found[1]) if found else last, error=error
        ) from None
    arrays = [k for k, v in tables.items() if isinstance(v, list) and all(_is_row(r) for r in v)]
    key = "rows" if "rows" in arrays else arrays[0] if len(arrays) == 1 else None
    others = [k for k in tables if k != key]
    if key is None or others:
        found_keys = ", ".join(tables) or "nothing"
        raise InputError(
            "rows must be one array of tables", {"file": f"{name}:1", "found": found_keys},
            "write each row as [[rows]]",
        )  # fmt: skip
    lines = _toml_lines(text, key, len(tables[key]))
    for line, table in zip(lines, tables[key], strict=True):
        yield from expanded(table, f"{name}:{line}")


def _is_row(value: object) -> bool:
    return isinstance(value, dict)


def _toml_lines(text: str, key: str, count: int) -> list[int]:
    """Lines of the `[[key]]` headers; that of the key where the array is written inline."""
    header = re.compile(rf"\s*\[\[\s*[\"']?{re.escape(key)}[\"']?\s*\]\]")
    lines = [i for i, line in enumerate(text.splitlines(), 1) if header.match(line)]
    if len(lines) == count:
        return lines
    start = re.search(rf"^\s*[\"']?{re.escape(key)}[\"']?\s*=", text, re.MULTILINE)
    return [text.count("\n", 0, start.end()) + 1 if start else 1] * count


READERS: dict[str, Callable[[str, str], Iterator[RawRow]]] = {
    ".csv": read_csv,
    ".json": read_json,
    ".toml": read_toml,
}
