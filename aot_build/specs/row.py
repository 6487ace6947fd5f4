"""One row as it was declared, and the values that a row may hold."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from aot_build.core.kernel import Value
from aot_build.errors import InputError

EXTENDS = ("source", "flags", "include-dirs", "link-flags")
"""What a row from code may add to its kernel."""
HINT = "a row holds integers, finite floats, booleans, strings, None and lists of them"


@dataclass(frozen=True)
class RawRow:
    """`values` maps columns to values, the reserved column `target` included."""

    values: Mapping[str, Value]
    where: str
    """`file:line`, or the declaration, for messages."""
    extends: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Key of `EXTENDS` -> what the row adds to the kernel's own."""


def malformed(message: str, name: str, line: int, **fields: object) -> InputError:
    """An error about a line of a file."""
    return InputError(message, {"file": f"{name}:{line}", **fields})


def value_of(value: object, where: str, column: str) -> Value:
    """A value with its lists as tuples. Raises InputError for a type that no row may hold.

    Types are exact: a number of an array library would have another identity, and another text,
    than the number it stands for.
    """
    if isinstance(value, (list, tuple)):
        return tuple(value_of(v, where, column) for v in value)
    if isinstance(value, str) and not _encodable(value):
        raise InputError("not valid Unicode text", {"where": where, "column": column}, HINT)
    if value is None or type(value) in (bool, int, str):
        return value  # type: ignore[return-value]
    if type(value) is float and math.isfinite(value):
        return value
    kind = type(value).__name__
    shown = repr(value)[:200]
    fields = {"where": where, "column": column, "value": shown}
    raise InputError(f"a row cannot hold a {kind} ({shown})", fields, HINT)


def _encodable(text: str) -> bool:
    """Whether it can be keyed: json may hold half of a surrogate pair."""
    try:
        return bool(text.encode()) or not text
    except UnicodeEncodeError:
        return False


def column_of(name: object, where: str) -> str:
    """The name of a column. Raises InputError where it is none."""
    if isinstance(name, str) and name.strip() and _encodable(name):
        return name
    raise InputError(f"not the name of a column: {name!r}", {"where": where})


def expanded(values: Mapping[object, object], where: str) -> Iterator[RawRow]:
    """A declared row as one row for each combination of its lists, the last column fastest.

    A list of `target` limits the row and is no such list. Raises InputError.
    """
    columns = {column_of(name, where): v for name, v in values.items()}
    choices: list[list[Value]] = []
    for name, value in columns.items():
        if isinstance(value, (list, tuple)) and name != "target":
            if not value:
                hint = "leave the column out, or name at least one value"
                raise InputError(
                    "an empty list makes no row", {"where": where, "column": name}, hint
                )
            choices.append([value_of(v, where, name) for v in value])
        else:
            choices.append([value_of(value, where, name)])
    for chosen in itertools.product(*choices):
        yield RawRow(dict(zip(columns, chosen, strict=True)), where)
