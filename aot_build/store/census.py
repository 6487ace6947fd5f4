"""What a cache directory holds, file by file, as one walk found it."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from aot_build.core.artifact import Artifact
from aot_build.store.records import DamagedRecord, read_dated

ADVICE = ("history-v1", "preloads-v1")
USELESS = ("set-aside", "traces-v1")
"""What nobody reads: damaged entries, and those of formats that were given up."""
TEMPORARY = re.compile(r"\..*\.tmp|\.probe\.[0-9a-f]+")
"""Names under which files are written before they are renamed; a killed build leaves some."""


@dataclass(frozen=True, slots=True)
class File:
    """`used_ns` is its mtime: Unix time of its last use, to the hour (see leases.py)."""

    path: str
    size: int
    used_ns: int

    @property
    def name(self) -> str:
        return self.path.rpartition(os.sep)[2]


class _Result(msgspec.Struct):
    """What there is to know of a result here; the rest of the record is passed over."""

    artifacts: tuple[Artifact, ...]
    base_key: str = ""
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class Named:
    """A result and what it needs. `base_key` is empty in records of older versions."""

    file: File
    blobs: frozenset[str] = frozenset()
    base_key: str = ""


@dataclass(slots=True)
class Census:
    """Files of each kind, blobs and traces by name."""

    results: list[Named] = field(default_factory=list)
    damaged: list[File] = field(default_factory=list)
    """Records that are a miss for everybody."""
    unread: list[File] = field(default_factory=list)
    """Results that cannot be read here: what they name is not known."""
    blobs: dict[str, File] = field(default_factory=dict)
    lists: dict[str, File] = field(default_factory=dict)
    traces: dict[str, File] = field(default_factory=dict)
    temporary: list[File] = field(default_factory=list)
    set_aside: list[File] = field(default_factory=list)
    advice: list[File] = field(default_factory=list)
    """What builds learned for the next one of their package."""


_results = msgspec.json.Decoder(_Result)
_ids = msgspec.json.Decoder(tuple[str, ...])


def take_census(root: Path) -> Census:
    """Walk a cache directory while others write to it: results first, so that whatever is added
    meanwhile is younger than the walk."""
    found = Census()
    for file in _files(root / "actions-v1"):
        if _settled(file, found):
            _add_result(file, found)
    for file in _files(root / "traces-v2"):
        if _settled(file, found):
            kind = found.traces if file.name.endswith(".t") else found.lists
            kind[file.name.removesuffix(".t")] = file
    found.blobs = {f.name: f for f in _files(root / "cas-v1") if _settled(f, found)}
    found.set_aside = [file for name in USELESS for file in _files(root / name)]
    advice = (file for name in ADVICE for file in _files(root / name))
    found.advice = [f for f in advice if _settled(f, found)]
    found.temporary += [f for f in _listed(root)[0] if TEMPORARY.fullmatch(f.name)]
    return found


def trace_ids(file: File) -> tuple[str, ...]:
    """The traces that a list names; none where it is damaged or gone."""
    try:
        dated = read_dated(Path(file.path), _ids)
    except DamagedRecord:
        return ()
    return dated[0] if dated else ()


def _settled(file: File, found: Census) -> bool:
    if TEMPORARY.fullmatch(file.name):
        found.temporary.append(file)
        return False
    return True


def _add_result(file: File, found: Census) -> None:
    try:
        dated = read_dated(Path(file.path), _results)
    except DamagedRecord:
        found.damaged.append(file)
        return
    if dated is None:
        if os.path.lexists(file.path):
            found.unread.append(file)
        return
    result = dated[0]
    blobs = frozenset(artifact.digest for artifact in result.artifacts)
    found.results.append(Named(file, blobs, result.base_key))


def _files(folder: Path) -> Iterator[File]:
    """Every file in a folder and in the folders in it."""
    files, folders = _listed(folder)
    yield from files
    for each in sorted(folders):
        yield from _listed(each)[0]


def _listed(folder: Path | str) -> tuple[list[File], list[str]]:
    files, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                    continue
                try:
                    stat = entry.stat(follow_symlinks=False)
                except OSError:
                    continue  # It was renamed, or removed, since it was listed.
                files.append(File(entry.path, stat.st_size, stat.st_mtime_ns))
    except FileNotFoundError:
        pass
    return files, folders
