"""The build log: what became of each variant last time. It explains, and never decides."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from aot_build.core.record import Record
from aot_build.digest import key_digest
from aot_build.files import write_atomic


class _Stored(msgspec.Struct, array_like=True):
    """Closures are many times alike: each is kept once."""

    records: dict[str, tuple[dict[str, str], str, str, str, float]]
    closures: dict[str, dict[str, str]]


class BuildLog:
    """Records by variant, in one file of the project's build folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: dict[str, Record] = {}
        with contextlib.suppress(OSError, msgspec.MsgspecError, KeyError):
            stored = msgspec.msgpack.decode(path.read_bytes(), type=_Stored)
            self._records = {
                name: Record(parts, stored.closures[closure], decision, built, seconds)
                for name, (parts, closure, decision, built, seconds) in stored.records.items()
            }

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
        closures: dict[str, dict[str, str]] = {}
        seen: dict[int, str] = {}
        rows = {}
        for name, record in self._records.items():
            closure_id = seen.get(id(record.closure))
            if closure_id is None:
                closure_id = seen[id(record.closure)] = key_digest(record.closure)
                closures[closure_id] = record.closure
            rows[name] = (
                record.components, closure_id, record.decision, record.built, record.seconds
            )  # fmt: skip
        with contextlib.suppress(OSError):
            write_atomic(self._path, msgspec.msgpack.encode(_Stored(rows, closures)))
