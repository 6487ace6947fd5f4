"""One row as it was declared, by itself or as one of the many that its lists stand for."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from aot_build.core.kernel import Value
from aot_build.core.row import column_of, value_of
from aot_build.errors import InputError


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
