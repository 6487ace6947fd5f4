"""What actions took the last time, by family: it orders and admits work, and decides nothing.

One small file a package in the cache directory, so that a fresh clone knows it too:

    history-v1/<package>.msgpack    {family: {name: [seconds, CPU seconds, peak bytes]}}
"""

import contextlib
import statistics
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from aot_build.files import read_at_once, write_atomic

FOLDER = "history-v1"
KEPT = 20_000
"""Actions of a family that are remembered; the oldest names go first."""

_Seconds = Annotated[float, Meta(ge=0.0, le=1e8)]
"""At most three years. A number that is not one compares with none, so that what is ordered by it
would never be found again; a damaged or hostile record says such things."""
_Bytes = Annotated[int, Meta(ge=0, le=1 << 50)]


class Past(msgspec.Struct, array_like=True, frozen=True):
    """What one action took. Times in seconds, memory with its children in bytes."""

    seconds: _Seconds = 0.0
    cpu_seconds: _Seconds = 0.0
    peak_bytes: _Bytes = 0


_Families = dict[str, dict[str, Past]]
_families = msgspec.msgpack.Decoder(_Families)


class History:
    """The history of one package's actions."""

    def __init__(self, cache: Path, package: str) -> None:
        self._path = cache / FOLDER / f"{package}.msgpack"
        self._known = _read(self._path)
        self._noted: _Families = {}
        self._typical: dict[str, float] = {}

    def past(self, family: str, name: str) -> Past | None:
        """What an action took the last time; None where it never ran."""
        return self._known.get(family, {}).get(name)

    def seconds(self, family: str, name: str) -> float:
        """What it should take now: as the last time, else the median of its family, else of all;
        0 where nothing is known."""
        if past := self.past(family, name):
            return past.seconds
        if family not in self._typical:
            named = self._known.get(family)
            self._typical[family] = _median(named.values()) if named else self._of_all
        return self._typical[family]

    @cached_property
    def _of_all(self) -> float:
        return _median(past for named in self._known.values() for past in named.values())

    def families(self) -> Mapping[str, Mapping[str, Past]]:
        """Everything that is known."""
        return self._known

    def peaks(self) -> dict[str, int]:
        """The greatest peak of each family."""
        return {
            family: max(past.peak_bytes for past in named.values())
            for family, named in self._known.items()
            if named
        }

    def note(self, family: str, name: str, past: Past) -> None:
        """An action has run."""
        self._noted.setdefault(family, {})[name] = past

    def save(self) -> None:
        """Add what was noted to what is there now: other builds may have written meanwhile."""
        if not self._noted:
            return
        families = _read(self._path)
        for family, named in self._noted.items():
            # What ran last comes last.
            both = {n: p for n, p in families.get(family, {}).items() if n not in named} | named
            families[family] = dict(list(both.items())[-KEPT:])
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(exist_ok=True)
            write_atomic(self._path, msgspec.msgpack.encode(families))


def _median(known: Iterable[Past]) -> float:
    seconds = [each.seconds for each in known]
    return statistics.median(seconds) if seconds else 0.0


def _read(path: Path) -> _Families:
    try:
        return _families.decode(read_at_once(path))
    except (OSError, msgspec.MsgspecError):
        return {}
