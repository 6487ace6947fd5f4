"""Variants: each row for each target of its kernel, once."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from aot_build.core.kernel import KernelSpec, Variant
from aot_build.core.target import Target, parse_target
from aot_build.digest import canonical
from aot_build.errors import InputError
from aot_build.specs.row import RawRow


@dataclass(frozen=True)
class Skipped:
    """What was left out, for saying so."""

    rows: int = 0
    """Rows of which no target is being built."""
    targets: tuple[tuple[str, int], ...] = ()
    """Target that is not being built -> rows that name it, sorted."""
    duplicates: int = 0
    """Variants that an earlier row had made already."""


def variants(
    spec: KernelSpec, rows: Iterable[RawRow], *, enabled: Collection[Target] = ()
) -> tuple[tuple[Variant, ...], Skipped]:
    """One variant for each row and target of the kernel, in the order of the rows.

    A kernel without configs has one with an empty row. `enabled` are all targets that this
    kernel is built for, where other specs of its name hold the rest: a row for one of those is not
    skipped. Values are compared with their types: 1, 1.0, True and "1" are four. Raises InputError
    for a target that does not exist, and for equal rows that extend their kernel differently.
    """
    rows = list(rows) if spec.configs else [RawRow({}, f"kernel {spec.name!r}")]
    built = {*spec.targets, *enabled}
    made: dict[bytes, Variant] = {}
    unbuilt: Counter[str] = Counter()
    asleep = duplicates = 0
    for row in rows:
        asked = row_targets(row)
        absent = set(asked or ()) - built
        unbuilt.update(map(str, absent))
        asleep += asked is not None and len(absent) == len(asked)
        for variant in _of_row(spec, row, asked):
            key = canonical((variant.row, str(variant.target)))
            duplicates += key in made
            _check_same(made.setdefault(key, variant), variant)
    return tuple(made.values()), Skipped(asleep, tuple(sorted(unbuilt.items())), duplicates)


def row_targets(row: RawRow) -> tuple[Target, ...] | None:
    """What the reserved column limits the row to; None: nothing. Raises InputError."""
    value = row.values.get("target")
    if value is None:
        return None
    names = value if isinstance(value, tuple) else (value,)
    found = []
    if not names:
        raise InputError("column 'target' is an empty list", {"where": row.where})
    for name in names:
        if not isinstance(name, str):
            fields = {"where": row.where, "value": repr(value)}
            raise InputError("column 'target' must hold text or a list of it", fields)
        found.append(parse_target(name, where=row.where))
    return tuple(dict.fromkeys(found))


def _of_row(spec: KernelSpec, row: RawRow, asked: tuple[Target, ...] | None) -> Iterator[Variant]:
    names = sorted(name for name in row.values if name != "target")
    columns = tuple((name, row.values[name]) for name in names)
    for target in spec.targets:
        if asked is None or target in asked:
            yield Variant(
                kernel=spec,
                row=columns,
                target=target,
                where=row.where,
                source=(*spec.source, *row.extends.get("source", ())),
                flags=(*spec.flags, *row.extends.get("flags", ())),
                include_dirs=(*spec.include_dirs, *row.extends.get("include-dirs", ())),
                link_flags=(*spec.link_flags, *row.extends.get("link-flags", ())),
            )


def _check_same(first: Variant, second: Variant) -> None:
    """Two artifacts of one row would have one name in the wheel."""
    for name in ("source", "flags", "include_dirs", "link_flags"):
        if getattr(first, name) != getattr(second, name):
            fields = {"first": first.where, "second": second.where, "row": first.label}
            hint = "give them a column in which they differ"
            key = name.replace("_", "-")
            raise InputError(f"two equal rows differ in their {key}", fields, hint)
