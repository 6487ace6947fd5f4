"""What installers recorded of a distribution, read once for each installation of it."""

import contextlib
import importlib.metadata
import os
import re
import time
from pathlib import Path, PurePosixPath

import msgspec

from aot_build.digest import key_digest
from aot_build.files import Stat, is_racy, stat_row, write_atomic

PER_INSTALL = frozenset(
    {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json"}
)
"""Files that say how it was installed, not what it is."""
METADATA = "METADATA"
"""Holds name and version."""


class Record(msgspec.Struct, array_like=True, frozen=True):
    """A RECORD, or what stands for it where there is none."""

    name: str = ""
    version: str = ""
    path: str = ""
    """Of the RECORD, in the folder that the distribution is installed to; empty: it has none."""
    stat: Stat | None = None
    digest: str = ""
    """Of all that it tells of `files`, in whatever order."""
    files: dict[str, tuple[str | None, int | None]] = {}
    """Name in that folder -> hash with its kind (`sha256=...`), size."""

    @property
    def metadata(self) -> tuple[str, ...]:
        """The file that holds name and version, where it is recorded."""
        folder = os.path.dirname(self.path)
        name = f"{folder}/{METADATA}"
        return (name,) if name in self.files else ()

    def own(self, folder: str) -> tuple[str, ...]:
        """The absolute path of the RECORD, where there is one."""
        return (os.path.join(folder, self.path),) if self.path else ()


class Records:
    """Reads them; keeps what it read in a folder, a file a distribution."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def of(self, found: importlib.metadata.Distribution) -> Record:
        """What is recorded of an installed distribution."""
        place = _record_of(found)
        if place is None:
            return _read(found, "", None)
        now = time.time_ns()
        root = str(found.locate_file(""))
        path = os.path.relpath(place, root)
        stat = stat_row(place)
        kept = self._kept(place)
        if kept is not None and (kept.stat, kept.path) == (stat, path):
            return kept
        record = _read(found, path, stat)
        if self._folder is not None and not is_racy(stat, now):
            with contextlib.suppress(OSError):
                write_atomic(self._folder / _file_name(place), msgspec.msgpack.encode(record))
        return record

    def _kept(self, place: str) -> Record | None:
        if self._folder is None:
            return None
        try:
            content = (self._folder / _file_name(place)).read_bytes()
            return _records.decode(content)
        except (OSError, msgspec.MsgspecError):
            return None


_records = msgspec.msgpack.Decoder(Record)


def _file_name(place: str) -> str:
    """By the name of the metadata folder: each isolated environment has another path."""
    return re.sub(r"[^\w.+-]", "_", os.path.basename(os.path.dirname(place)))


def _record_of(found: importlib.metadata.Distribution) -> str | None:
    """The path of the RECORD. `files` would parse it; the folder itself has no public name."""
    folder = getattr(found, "_path", None)
    place = os.path.join(os.fspath(folder), "RECORD") if folder is not None else ""
    return place if place.endswith(".dist-info/RECORD") and os.path.isfile(place) else None


def _read(found: importlib.metadata.Distribution, path: str, stat: Stat | None) -> Record:
    files: dict[str, tuple[str | None, int | None]] = {}
    for file in found.files or ():
        if _is_content(file):
            told = f"{file.hash.mode}={file.hash.value}" if file.hash else None
            files[file.as_posix()] = (told, file.size)
    digest = key_digest(sorted((name, told) for name, (told, _) in files.items() if told))
    return Record(found.metadata["Name"], found.version, path, stat, digest, files)


def _is_content(file: PurePosixPath) -> bool:
    if file.suffix == ".pyc" or file.parts[:1] == ("..",):
        return False
    return not (file.parent.suffix == ".dist-info" and file.name in PER_INSTALL)
