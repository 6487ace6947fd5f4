"""What a row may hold: one rule for those that list rows and those that read them."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from aot_build.core.kernel import Value
from aot_build.errors import InputError

EXTENDS = ("source", "flags", "include-dirs", "link-flags")
"""What a row from code may add to its kernel."""
INT_MIN, INT_MAX = -(2**63), 2**64 - 1
"""What crosses to a worker, and lies in a listing, as a number."""
_CODE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
HINT = "a row holds integers, finite floats, booleans, strings, None and lists of them"


@dataclass(frozen=True, slots=True)
class CodeRow:
    """A row that code has yielded, checked."""

    values: Mapping[str, Value]
    extends: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Key of `EXTENDS` -> what the row adds to the kernel's own."""


def value_of(value: object, where: str, column: str) -> Value:
    """A value with its lists as tuples. Raises InputError for a type that no row may hold.

    Types are exact: a number of an array library would have another identity, and another text,
    than the number it stands for.
    """
    if isinstance(value, (list, tuple)):
        return tuple(value_of(v, where, column) for v in value)
    if isinstance(value, str) and not _encodable(value):
        raise InputError("not valid Unicode text", {"where": where, "column": column}, HINT)
    if type(value) is int and not INT_MIN <= value <= INT_MAX:
        raise InputError(
            f"a row cannot hold {value}: integers have 64 bits",
            {"where": where, "column": column},
            "write it as a string",
        )
    if value is None or type(value) in (bool, int, str):
        return value  # type: ignore[return-value]
    if type(value) is float and math.isfinite(value):
        return value
    kind = type(value).__name__
    shown = repr(value)[:200]
    fields = {"where": where, "column": column, "value": shown}
    raise InputError(f"a row cannot hold a {kind} ({shown})", fields, HINT)


def column_of(name: object, where: str) -> str:
    """The name of a column. Raises InputError where it is none."""
    if isinstance(name, str) and name.strip() and _encodable(name):
        return name
    raise InputError(f"not the name of a column: {name!r}", {"where": where})


def code_row(item: object, where: str) -> CodeRow:
    """What code has yielded as a row; `where` names it. Raises InputError.

    The keys of `EXTENDS` (also with `_`) take text, or a list of it.
    """
    if not isinstance(item, Mapping):
        raise InputError(f"a row must be a dict, found {item!r:.200}", {"where": where})
    extends: dict[str, tuple[str, ...]] = {}
    values = {}
    for key, value in item.items():
        name = column_of(key, where)
        if (option := name.replace("_", "-")) in EXTENDS:
            extends[option] = (*extends.get(option, ()), *_texts(value, where, name))
        else:
            values[name] = value_of(value, where, name)
    return CodeRow(values, extends)


def _encodable(text: str) -> bool:
    """Whether it can be keyed: json may hold half of a surrogate pair."""
    try:
        return bool(text.encode()) or not text
    except UnicodeEncodeError:
        return False


def _texts(value: object, where: str, column: str) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value
    if isinstance(found, (list, tuple)) and all(_is_text(v) for v in found):
        return tuple(found)
    fields = {"where": where, "column": column, "value": repr(value)[:200]}
    raise InputError(f"{column!r} of a row must be text or a list of it", fields)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value) and _encodable(value)


def is_code(entry: object) -> bool:
    """Whether an entry of `configs` is `module:function`, rather than a file or a row."""
    return isinstance(entry, str) and _CODE.fullmatch(entry) is not None
