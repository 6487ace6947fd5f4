"""The build log: what became of each variant last time. It explains, and never decides.

One file of msgpack. Closures, and most of what variants are made of, are those of many variants:
each is kept once, and rows name them by number. Records are made of rows when they are asked for.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from aot_build.core.record import Record
from aot_build.digest import key_digest
from aot_build.files import read_at_once, write_atomic

NAME = "log-v2"
"""Of the file, in the project's build folder."""
OWN = ("row ", "source ")
"""How components begin that differ from variant to variant."""

_Seconds = Annotated[float, Meta(ge=0.0, le=1e8)]
_Time = Annotated[float, Meta(ge=0.0, le=1e11)]
"""What is damaged may decode all the same: a number that is not one would break who tells it."""
_Parts = tuple[tuple[str, str], ...]


class _Told(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What variants that went one way have in common."""

    decision: str
    built: str
    family: str
    built_at: _Time
    at: _Time
    trace: str


class _Row(msgspec.Struct, array_like=True, gc=False):
    """One record; numbers are places in the lists of `_Stored`."""

    own: dict[str, str]
    parts: int
    told: int
    closure: int
    seconds: _Seconds
    label: str


class _Stored(msgspec.Struct, array_like=True):
    parts: list[_Parts]
    told: list[_Told]
    closures: list[dict[str, str]]
    rows: dict[str, _Row]

    def record(self, row: _Row) -> Record:
        """Raises LookupError for a row that names what is not there."""
        told, closure = self.told[row.told], self.closures[row.closure]
        components = {**dict(self.parts[row.parts]), **row.own}
        return Record(
            components, closure, told.decision, told.built, row.seconds, told.family,
            told.built_at, told.at, told.trace, row.label,
        )  # fmt: skip


_decoder = msgspec.msgpack.Decoder(_Stored)


class BuildLog:
    """Records by variant, in one file of the project's build folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stored = _Stored([], [], [], {})
        self._records: dict[str, Record] = {}
        with contextlib.suppress(OSError, msgspec.MsgspecError, ValueError):
            self._stored = _decoder.decode(read_at_once(path))

    def get(self, name: str) -> Record | None:
        """The last record of a variant, None where it was never built here."""
        found = self._records.get(name)
        row = self._stored.rows.get(name)
        if found is None and row is not None:
            with contextlib.suppress(LookupError):
                found = self._records[name] = self._stored.record(row)
        return found

    def all(self) -> Mapping[str, Record]:
        """Every record, by variant."""
        names = {**self._stored.rows, **self._records}
        return {name: record for name in names if (record := self.get(name)) is not None}

    def replace(self, records: Mapping[str, Record], *, complete: bool = False) -> None:
        """Keep the records of a finished build, beside those of variants it did not look at.

        `complete` says that there are no others: what is no longer declared leaves the log.
        """
        self._records = dict(records) if complete else {**self.all(), **records}
        self._stored = _Stored([], [], [], {})
        # A name that is no Unicode cannot be written: the next build has nothing to compare with.
        with contextlib.suppress(OSError, ValueError):
            write_atomic(self._path, msgspec.msgpack.encode(_stored(self._records)))


def _stored(records: Mapping[str, Record]) -> _Stored:
    parts: dict[_Parts, int] = {}
    told: dict[_Told, int] = {}
    closures: dict[str, int] = {}
    seen: dict[int, int] = {}
    kept: list[dict[str, str]] = []
    rows = {}
    for name, r in records.items():
        place = seen.get(id(r.closure))
        if place is None:
            place = closures.setdefault(key_digest(r.closure), len(closures))
            seen[id(r.closure)] = place
            kept += [r.closure] * (place == len(kept))
        shared = tuple(item for item in r.components.items() if not item[0].startswith(OWN))
        how = _Told(r.decision, r.built, r.family, r.built_at, r.at, r.trace)
        rows[name] = _Row(
            {name: text for name, text in r.components.items() if name.startswith(OWN)},
            parts.setdefault(shared, len(parts)),
            told.setdefault(how, len(told)),
            place,
            r.seconds,
            r.label,
        )
    return _Stored(list(parts), list(told), kept, rows)
