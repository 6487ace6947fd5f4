"""Installed distributions as inputs: identified without reading gigabytes, edits seen all the same.

An unedited one is told by name, version and its RECORD (PyPA specification "Recording installed
projects"), whose hashes stand for the content. A file whose size disagrees with RECORD, or which
RECORD gives no hash for, is read.
"""

import importlib.metadata
import os
from collections.abc import Callable
from pathlib import PurePosixPath

from aot_build.digest import key_digest

PER_INSTALL = frozenset(
    {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json"}
)
"""Files that say how it was installed, not what it is."""

UNOWNED = "import:"
"""Before the name of an import package that no distribution provides."""


class Distributions:
    """What is installed for this interpreter; each is looked at once a build."""

    def __init__(self, digest: Callable[[str], str | None]) -> None:
        self._digest = digest
        self._identities: dict[str, str] = {}
        self._owners: dict[str, list[str]] | None = None
        self.files: set[str] = set()
        """Absolute paths of the files that the identities stand for."""

    def owners(self, package: str) -> tuple[str, ...]:
        """Names of the distributions that provide a top-level import package, sorted."""
        if self._owners is None:
            self._owners = {
                name: sorted(set(found))
                for name, found in importlib.metadata.packages_distributions().items()
            }
        return tuple(self._owners.get(package, ()))

    def identity(self, name: str) -> str:
        """Changes exactly when the distribution's content does; `absent` where there is none."""
        if name not in self._identities:
            self._identities[name] = self._identify(name)
        return self._identities[name]

    def _identify(self, name: str) -> str:
        if name.startswith(UNOWNED):
            package = name.removeprefix(UNOWNED)
            return ", ".join(self.owners(package)) or "absent"
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            return "absent"
        rows = []
        for file in found.files or ():
            if not _is_content(file):
                continue
            path = os.fspath(file.locate())
            self.files.add(path)
            recorded = file.hash.value if file.hash else None
            if recorded is None or _size(path) != file.size:
                recorded = self._digest(path)
            rows.append((file.as_posix(), recorded))
        return key_digest((found.metadata["Name"], found.version, sorted(rows, key=str)))


def _is_content(file: PurePosixPath) -> bool:
    if file.suffix == ".pyc" or file.parts[:1] == ("..",):
        return False
    return not (file.parent.suffix == ".dist-info" and file.name in PER_INSTALL)


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None
