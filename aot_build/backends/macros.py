"""Rows as macros of the C preprocessor: booleans 1 or 0, None leaves a name undefined."""

import re
from collections.abc import Iterator

from aot_build.core.kernel import Row, Variant
from aot_build.errors import InputError


def check_macros(variant: Variant, language: str) -> None:
    """Raise InputError for a variant without a source, and for a row that macros cannot hold."""
    if not variant.source:
        raise InputError(
            f"a row of kernel {variant.kernel.name!r} has no source",
            {"where": variant.where},
            "give the kernel a source, or let the function that lists its rows name one",
        )
    for name, value in variant.row:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise InputError(
                f"column {name!r} cannot be a {language} macro",
                {"kernel": variant.kernel.name, "where": variant.where},
                "use letters, digits and underscores",
            )
        if isinstance(value, tuple) or not {"\n", "\0"}.isdisjoint(str(value)):
            raise InputError(
                f"a value of column {name!r} cannot be a {language} macro",
                {"kernel": variant.kernel.name, "where": variant.where, "value": repr(value)},
                "use one number, string or boolean a row, on one line",
            )


def macros(row: Row) -> Iterator[tuple[str, str]]:
    """Names and replacement texts."""
    for name, value in row:
        if value is not None:
            yield name, str(int(value) if isinstance(value, bool) else value)
