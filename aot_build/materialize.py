"""Place a build's blobs, its manifest and the runtime into the result folder.

    <project>/build/aot/<package>/_aot/   manifest.json, __init__.py ..., and the blobs beside them

Each blob is a verified copy. The manifest goes first and comes last: a folder without one is
unfinished. Files that no longer belong there are removed.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

import aot_build.runtime
from aot_build.core.manifest import Entry, manifest, manifest_text, place
from aot_build.core.store import Store
from aot_build.files import Stat, stat_row, write_atomic
from aot_build.layout import MANIFEST, RUNTIME


class _Placed(msgspec.Struct, array_like=True):
    stat: Stat
    digest: str


class DamagedBlobs(Exception):
    """Blobs are missing from the store, or not what their names say; `entries` lack them."""

    def __init__(self, entries: list[Entry]) -> None:
        super().__init__(f"{len(entries)} results are damaged")
        self.entries = entries


class ResultFolder:
    """`<build folder>/<package>/_aot`, and an index of what was placed in it."""

    def __init__(self, build_folder: Path, package: str) -> None:
        self.path = build_folder.joinpath(*package.split("."), "_aot")
        self._package = package
        self._index_path = build_folder / "outputs-v1"
        self._index: dict[str, _Placed] = {}
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            content = self._index_path.read_bytes()
            self._index = msgspec.msgpack.decode(content, type=dict[str, _Placed])

    def fill(
        self,
        entries: list[Entry],
        store: Store,
        mode: str,
        producer: str,
        only: Collection[str] | None = None,
    ) -> None:
        """Make the folder hold exactly these entries. Raises DamagedBlobs, OSError.

        With `only`, the entries are all that there is of these kernels; what the folder holds of
        other ones stays, where it was built in the same mode.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        made = manifest(self._package, mode, producer, entries)
        others = self._others(made, only) if only is not None else set()
        text = manifest_text(made).encode()
        wanted = self._wanted(entries) | others
        if not self._holds_text(MANIFEST, text):
            (self.path / MANIFEST).unlink(missing_ok=True)
        self._clear_the_way(wanted)
        damaged = [entry for entry in entries if not self._place(entry, store)]
        if damaged:
            raise DamagedBlobs(damaged)
        runtime = Path(aot_build.runtime.__file__).parent
        own = [(name, (runtime / name).read_bytes()) for name in RUNTIME]
        for name, content in (*own, (MANIFEST, text)):
            if not self._holds_text(name, content):
                write_atomic(self.path / name, content)
        self._prune({*wanted, MANIFEST, *RUNTIME})
        self._index = {name: row for name, row in self._index.items() if name in wanted}
        write_atomic(self._index_path, msgspec.msgpack.encode(self._index))

    def _others(self, made: dict[str, Any], only: Collection[str]) -> set[str]:
        """Take the kernels not in `only` over from the manifest that is there; their files."""
        try:
            old = json.loads((self.path / MANIFEST).read_bytes())
            if any(old[name] != made[name] for name in ("version", "package", "mode")):
                return set()
            kept = {name: k for name, k in old["kernels"].items() if name not in only}
            variants = [variant for kernel in kept.values() for variant in kernel["variants"]]
            names = {f["path"] for variant in variants for f in variant["files"].values()}
            used = {
                digest: old["toolchains"][digest] for v in variants if (digest := v["toolchain"])
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return set()
        made["kernels"] = dict(sorted({**kept, **made["kernels"]}.items()))
        made["toolchains"] = dict(sorted({**used, **made["toolchains"]}.items()))
        return names

    def rows(self) -> list[tuple[str, tuple[int, int, int]]]:
        """Inode, size, mtime_ns of every file of the folder, for the snapshot."""
        placed = [(name, row.stat) for name, row in self._index.items()]
        placed += [(name, stat_row(self.path / name)) for name in (MANIFEST, *RUNTIME)]
        return [(name, (stat[1], stat[2], stat[3])) for name, stat in sorted(placed)]

    def _wanted(self, entries: list[Entry]) -> set[str]:
        return {path for e in entries for path in place(e.variant, e.artifacts).values()}

    def _clear_the_way(self, wanted: set[str]) -> None:
        """A file may stand where a folder must go: a variant of one file has become one of two."""
        folders = {folder for name in wanted for folder in PurePosixPath(name).parents}
        for folder in sorted(folders):
            path = self.path / folder
            if path.is_file() or path.is_symlink():
                path.unlink()
            path.mkdir(exist_ok=True)

    def _place(self, entry: Entry, store: Store) -> bool:
        places = place(entry.variant, entry.artifacts)
        for artifact in entry.artifacts:
            name = places[artifact.name]
            path = self.path / name
            with contextlib.suppress(OSError):
                row = self._index.get(name)
                if row and row.digest == artifact.digest and row.stat == stat_row(path):
                    continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            if not store.fetch(artifact.digest, path):
                return False
            self._index[name] = _Placed(stat_row(path), artifact.digest)
        return True

    def _holds_text(self, name: str, content: bytes) -> bool:
        try:
            return (self.path / name).read_bytes() == content
        except OSError:
            return False

    def _prune(self, wanted: set[str]) -> None:
        for folder, folders, names in os.walk(self.path, topdown=False):
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            for name in (*names, *links):
                path = os.path.join(folder, name)
                if os.path.relpath(path, self.path).replace(os.sep, "/") not in wanted:
                    os.unlink(path)
            if folder != str(self.path):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
