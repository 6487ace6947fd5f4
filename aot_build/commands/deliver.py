"""Copy a result to where it ships from, and leave nothing else there."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from aot_build.digest import blob_digest
from aot_build.errors import InternalError
from aot_build.files import copy_verified, write_atomic
from aot_build.layout import MANIFEST, RUNTIME

MODE = 0o644


class DamagedResult(InternalError):
    """A result is not what its manifest says; `file` is the one to blame."""

    def __init__(self, file: Path, digest: str | None = None) -> None:
        super().__init__(
            "an artifact is not what the manifest says",
            {"file": file, "sha256": digest},
            "remove the folder build/aot, then build again",
        )
        self.file = file


def deliver(result: Path, folder: Path) -> None:
    """Make `folder` a copy of the result: each file verified against the manifest's SHA-256.

    The manifest goes last, so that a copy that was cut short is not taken for a whole one. Files
    that it does not list are removed: stale ones in build/lib would ship. Raises DamagedResult
    where a file is missing or not what the manifest says.
    """
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    digests = listed(result)
    for name, digest in digests.items():
        if _holds(folder, name, digest):
            continue
        _clear_way(folder, name)
        source = result / name
        # A link would be copied as what it names: the result holds files.
        if source.is_symlink() or not source.is_file():
            raise DamagedResult(source)
        if not copy_verified(source, folder / name, digest, MODE):
            raise DamagedResult(source, digest)
    for name in (*RUNTIME, MANIFEST):
        if not (result / name).is_file():
            raise DamagedResult(result / name)
        write_atomic(folder / name, (result / name).read_bytes())
        (folder / name).chmod(MODE)
    prune(folder, {*digests, *RUNTIME, MANIFEST})


def _holds(folder: Path, name: str, digest: str) -> bool:
    """Whether a file is there already, as it would be copied: reading is cheaper than writing."""
    path = f"{folder}/{name}"
    try:
        found = os.lstat(path)
        if found.st_mode != stat.S_IFREG | MODE or found.st_nlink != 1:
            return False
        if any(parent.is_symlink() for parent in _parents(folder, name)):
            return False
        return blob_digest(path) == digest
    except OSError:
        return False


def listed(result: Path) -> dict[str, str]:
    """The artifacts that a manifest lists: path relative to it -> SHA-256.

    Raises DamagedResult where it cannot be read.
    """
    try:
        kernels = json.loads((result / MANIFEST).read_bytes())["kernels"]
        files = (f for k in kernels.values() for v in k["variants"] for f in v["files"].values())
        return {str(file["path"]): str(file["sha256"]) for file in files}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        raise DamagedResult(result / MANIFEST) from None


def names(result: Path) -> list[str]:
    """Every file of a result, sorted; empty where there is none."""
    if not (result / MANIFEST).is_file():
        return []
    return sorted({*listed(result), *RUNTIME, MANIFEST})


def prune(folder: Path, keep: set[str]) -> None:
    """Remove every file below `folder` that `keep` does not name, and folders left empty."""
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in files:
            path = Path(parent, name)
            if path.relative_to(folder).as_posix() not in keep:
                path.unlink()
        for name in folders:
            path = Path(parent, name)
            if path.is_symlink():
                path.unlink()
            elif not any(path.iterdir()):
                path.rmdir()


def remove(folder: Path) -> None:
    """Remove a result that is not to ship."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.is_dir():
        shutil.rmtree(folder)


def _clear_way(folder: Path, name: str) -> None:
    """Remove what an earlier layout left in the way: a folder for a file, or a file for a folder.

    A link is removed too, since a copy through it would land elsewhere.
    """
    path = folder / name
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    for parent in _parents(folder, name):
        if parent.is_symlink() or parent.is_file():
            parent.unlink()


def _parents(folder: Path, name: str) -> Iterator[Path]:
    parts = name.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        yield folder.joinpath(*parts[:depth])
