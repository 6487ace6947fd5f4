"""The variants of one kernel, and how a row is found among them.

First by its text, as the manifest spells it; then by its values, as 1 finds 1.0; then, for a kernel
whose launches were captured, among the declared rows that made each launch.
"""

from __future__ import annotations

import json
from itertools import islice

from ._artifact import Artifact, KernelNotFound, show, tupled
from ._devices import compatible, runs
from ._manifest import Shelf, damaged, key_of, row_text

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    Row = Mapping[str, object]
    Machine = tuple[Any, ...] | None
    Index = dict[object, list[tuple[dict[str, Any], Any]]]
    """Rows that Python calls equal, those with True and 1 included, and what they stand for."""


class _Absent:
    """The type of ABSENT."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()
"""Stands for a column that a row does not have."""


class Kernel:
    """The variants of one kernel. Its methods raise ManifestError where those make no sense."""

    __slots__ = ("_by_maker", "_by_values", "_found", "_made", "_ranked", "_shelf", "targets")

    def __init__(self, shelf: Shelf) -> None:
        begin, end = len(b'{"target":'), b',"row":'
        texts = {key[begin : key.index(end)] for key in shelf.sources}
        self.targets: list[str] = sorted(map(json.loads, texts))
        self._shelf = shelf
        self._made: dict[bytes, Artifact] = {}
        self._found: dict[tuple[str, str | None], Artifact] = {}
        self._ranked: dict[object, list[str]] = {}
        self._by_values: Index | None = None
        self._by_maker: Index | None = None

    @property
    def name(self) -> str:
        """The kernel's name."""
        return self._shelf.name

    def ranked(self, machine: tuple[Any, ...]) -> list[str]:
        """The targets that a machine can run, best first."""
        found = self._ranked.get(machine)
        if found is None:
            found = self._ranked[machine] = compatible(self.targets, machine)
        return found

    def find(self, targets: Iterable[str], row: Row, machine: Machine) -> Artifact | None:
        """The row in the first of the targets that has it, in code that the machine runs.

        Raises KernelNotFound where it is a declared row that made several launches.
        """
        text = row_text(row)
        for target in targets:
            found = self._found.get((target, text)) or self._first(target, text, row)
            if found is not None and (machine is None or runs(found, machine)):
                return found
        return None

    def shipped(self, target: str, machine: tuple[Any, ...]) -> Iterator[Artifact]:
        """All variants for a target that the machine can launch."""
        for key in self._shelf.sources:
            if key.startswith(key_of(target, "")):
                artifact = self._artifact(key)
                if not unlaunchable(artifact) and runs(artifact, machine):
                    yield artifact

    def holding(self, text: bytes) -> Iterator[Artifact]:
        """Variants that may have this text in their line; those that cannot be launched, too."""
        for key, source in self._shelf.sources.items():
            if self._shelf.holds(source, text):
                yield self._artifact(key)

    def miss(self, targets: list[str], asked: object, row: Row, machine: Machine) -> KernelNotFound:
        """The error for a row that was not found."""
        if targets:
            message = f"kernel {self.name!r} has no variant {show(row)} for {', '.join(targets)}"
            message += "".join(self._withheld(targets, row, machine))
        else:
            where = "this machine" if asked is None else str(asked)
            message = f"kernel {self.name!r} ships nothing for {where}"
        return KernelNotFound(message, lambda: self._nearest(targets, row))

    def _first(self, target: str, text: str | None, row: Row) -> Artifact | None:
        """The variant of one target, exactly as asked, or by its values, or by what made it."""
        fit = (a for a in self._candidates(target, text, row) if not unlaunchable(a))
        found = next(fit, None) or self._launched(target, row)
        if found is not None and text is not None:
            self._found[target, text] = found
        return found

    def _candidates(self, target: str, text: str | None, row: Row) -> Iterator[Artifact]:
        exact = None if text is None else key_of(target, text)
        if exact in self._shelf.sources:
            yield self._artifact(exact)
        if self._by_values is None:
            self._by_values = self._index_values()
        begin = key_of(target, "")
        for keys in _equal(self._by_values, row, lambda key: key.startswith(begin)):
            yield from (self._artifact(key) for key in keys if key != exact)

    def _launched(self, target: str, row: Row) -> Artifact | None:
        """The launch that a declared row made. Raises KernelNotFound where it made several."""
        if self._by_maker is None:
            self._by_maker = self._index_makers()
        spelled, equal = _equal(self._by_maker, row, lambda made: made.target == target)
        made = list(dict.fromkeys(spelled or equal))
        if len(made) < 2:
            return made[0] if made else None
        columns = {
            column: {_spelling(artifact.row.get(column, ABSENT)) for artifact in made}
            for column in sorted({column for artifact in made for column in artifact.row})
        }
        differ = ", ".join(column for column, values in columns.items() if len(values) > 1)
        raise KernelNotFound(
            f"kernel {self.name!r}: {len(made)} launches were made by {show(row)} for {target}\n"
            f"  they differ in: {differ}\n  ask for one of them by all of its columns"
        )

    def _artifact(self, key: bytes) -> Artifact:
        found = self._made.get(key)
        if found is None:
            try:
                made = Artifact(self.name, self._shelf.variant(self._shelf.sources[key]))
            except (KeyError, TypeError, AttributeError) as error:
                raise damaged(self.name, error) from error
            found = self._made.setdefault(key, made)
        return found

    def _index_values(self) -> Index:
        index: Index = {}
        for place, key in zip(self._shelf.places(), self._shelf.sources):  # noqa: B905
            index.setdefault(_key(place["row"]), []).append((place["row"], key))
        return index

    def _index_makers(self) -> Index:
        index: Index = {}
        for artifact in self.holding(b'"rows":[{'):
            rows = artifact.metadata.get("rows")
            for row in rows if isinstance(rows, list) and not unlaunchable(artifact) else ():
                if isinstance(row, dict):
                    index.setdefault(_key(row), []).append((row, artifact))
        return index

    def _withheld(self, targets: list[str], row: Row, machine: Machine) -> Iterator[str]:
        """Why variants that fit were not given."""
        text = row_text(row)
        for target in targets:
            for artifact in self._candidates(target, text, row):
                if unlaunchable(artifact):
                    yield f"\n  withheld:  {target} cannot launch it: {unlaunchable(artifact)}"
                elif machine is not None and not runs(artifact, machine):
                    arch = artifact.metadata["arch"]
                    yield f"\n  withheld:  for {target} it is {arch} code, which does not run here"

    def _nearest(self, targets: list[str], row: Row) -> str:
        def distance(place: tuple[dict[str, Any], bytes]) -> tuple[float, ...]:
            foreign, other = place[0]["target"] not in targets, place[0]["row"]
            apart = [_gap(row.get(n, ABSENT), other.get(n, ABSENT)) for n in {*row, *other}]
            return sum(gap > 0 for gap in apart) + foreign, foreign, sum(apart)

        places = sorted(zip(self._shelf.places(), self._shelf.sources), key=distance)  # noqa: B905
        artifacts = (self._artifact(key) for _, key in places)
        near = islice((a for a in artifacts if not unlaunchable(a)), 3)
        shown = "\n             ".join(f"{show(a.row)} for {a.target}" for a in near)
        return f"\n  nearest:   {shown}\n  ships for: {', '.join(self.targets)}"


def unlaunchable(artifact: Artifact) -> str:
    """Why its target cannot launch a variant, which then ships no file; else empty."""
    return str(artifact.metadata.get("unlaunchable", ""))


def _equal(index: Index, row: Row, fits: Callable[[Any], bool]) -> tuple[list[Any], list[Any]]:
    """What stands under the row's values: first where it is spelled as asked, then other ways."""
    try:
        near = index.get(_key(row), ())
    except TypeError:  # a value without a hash is in no manifest
        return [], []
    spelled: list[Any] = []
    otherwise: list[Any] = []
    for shipped, found in near:
        if _same(shipped, row) and fits(found):
            (spelled if _spelled(shipped) == _spelled(row) else otherwise).append(found)
    return spelled, otherwise


def _gap(asked: object, shipped: object) -> float:
    """0 for equal values, less than 1 for numbers that are close, 1 for all else."""
    if _spelling(asked) == _spelling(shipped):  # == itself may raise, or give a tensor
        return 0.0
    for value in (asked, shipped):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return 1.0
    return abs(asked - shipped) / ((abs(asked) + abs(shipped)) or 1)  # type: ignore


def _key(row: Row) -> frozenset[tuple[str, object]]:
    try:
        return frozenset(row.items())
    except TypeError:
        return frozenset([(name, tupled(value)) for name, value in row.items()])


def _same(shipped: Row, asked: Row) -> bool:
    return all(_frozen(value) == _frozen(asked[name]) for name, value in shipped.items())


def _frozen(value: object) -> object:
    """Equal for equal values only: in Python True == 1."""
    if isinstance(value, bool):
        return bool, value
    if isinstance(value, (list, tuple)):
        return tuple(map(_frozen, value))
    return value


def _spelled(row: Row) -> dict[str, str]:
    return {name: _spelling(value) for name, value in row.items()}


def _spelling(value: object) -> str:
    return repr(tupled(value))
