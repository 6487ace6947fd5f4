"""The build log: what became of each variant last time. It explains, and never decides.

One file of msgpack. Most texts and all closures are those of many variants: each is kept once, and
records name them by number.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from aot_build.core.record import Record
from aot_build.digest import key_digest
from aot_build.files import read_at_once, write_atomic

NAME = "log-v2"
"""Of the file, in the project's build folder."""


class _Row(msgspec.Struct, array_like=True, gc=False):
    """A record; texts are numbers of words."""

    components: list[int]
    """Name, text, name, text, ..."""
    closure: str
    decision: int
    built: int
    seconds: float
    family: int
    built_at: float
    at: float
    trace: int
    label: int


class _Stored(msgspec.Struct, array_like=True):
    words: list[str]
    closures: dict[str, dict[str, str]]
    rows: dict[str, _Row]


_decoder = msgspec.msgpack.Decoder(_Stored)
_DAMAGE = (OSError, msgspec.MsgspecError, ValueError, LookupError)


class BuildLog:
    """Records by variant, in one file of the project's build folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: dict[str, Record] = {}
        with contextlib.suppress(*_DAMAGE):
            stored = _decoder.decode(read_at_once(path))
            self._records = dict(_records(stored))

    def get(self, name: str) -> Record | None:
        """The last record of a variant, None where it was never built here."""
        return self._records.get(name)

    def all(self) -> Mapping[str, Record]:
        """Every record, by variant."""
        return self._records

    def replace(self, records: Mapping[str, Record], *, complete: bool = False) -> None:
        """Keep the records of a finished build, beside those of variants it did not look at.

        `complete` says that there are no others: what is no longer declared leaves the log.
        """
        self._records = dict(records) if complete else {**self._records, **records}
        # A name that is no Unicode cannot be written: the next build has nothing to compare with.
        with contextlib.suppress(OSError, ValueError):
            write_atomic(self._path, msgspec.msgpack.encode(_stored(self._records)))


def _records(stored: _Stored) -> Iterator[tuple[str, Record]]:
    words, closures = stored.words, stored.closures
    for name, row in stored.rows.items():
        parts = [words[number] for number in row.components]
        yield (
            name,
            Record(
                dict(zip(parts[::2], parts[1::2], strict=True)),
                closures[row.closure],
                words[row.decision],
                words[row.built],
                row.seconds,
                words[row.family],
                row.built_at,
                row.at,
                words[row.trace],
                words[row.label],
            ),
        )


def _stored(records: Mapping[str, Record]) -> _Stored:
    words: dict[str, int] = {}
    closures: dict[str, dict[str, str]] = {}
    seen: dict[int, str] = {}

    def word(text: str) -> int:
        return words.setdefault(text, len(words))

    rows = {}
    for name, record in records.items():
        closure_id = seen.get(id(record.closure))
        if closure_id is None:
            closure_id = seen[id(record.closure)] = key_digest(record.closure)
            closures[closure_id] = record.closure
        rows[name] = _Row(
            [word(text) for pair in record.components.items() for text in pair],
            closure_id,
            word(record.decision),
            word(record.built),
            record.seconds,
            word(record.family),
            record.built_at,
            record.at,
            word(record.trace),
            word(record.label),
        )
    return _Stored(list(words), closures, rows)
