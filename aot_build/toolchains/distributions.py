"""Installed distributions as inputs: identified without reading gigabytes, edits seen all the same.

An unedited one is told by name, version and its RECORD (PyPA specification "Recording installed
projects"), whose hashes stand for the content. A file is read where RECORD gives no hash for it,
where its size disagrees with RECORD, and where it was touched after RECORD, which installers write
last: an edit can keep size and mtime, not ctime.
"""

import base64
import importlib.metadata
import os
from collections.abc import Callable
from pathlib import PurePosixPath

from aot_build.digest import blob_digest, key_digest

PER_INSTALL = frozenset(
    {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json"}
)
"""Files that say how it was installed, not what it is."""

UNOWNED = "import:"
"""Before the name of an import package that no distribution provides."""


class Distributions:
    """What is installed for this interpreter; each is looked at once a build."""

    def __init__(
        self,
        digest: Callable[[str], str | None],
        sha256: Callable[[str], str | None] | None = None,
    ) -> None:
        """`digest` is for files that nobody has recorded, `sha256` (in hexadecimal) for those to
        be compared with what was."""
        self._digest = digest
        self._sha256 = sha256 or _blob_digest
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
        files = found.files or ()
        records = [f for f in files if f.name == "RECORD" and f.parent.suffix == ".dist-info"]
        installed = filter(None, (_stat(os.fspath(record.locate())) for record in records))
        installed_ns = max((stat.st_ctime_ns for stat in installed), default=0)
        rows = []
        for file in files:
            if _is_content(file):
                path = os.fspath(file.locate())
                self.files.add(path)
                rows.append((file.as_posix(), self._content(file, path, installed_ns)))
        return key_digest((found.metadata["Name"], found.version, sorted(rows, key=str)))

    def _content(
        self, file: importlib.metadata.PackagePath, path: str, installed_ns: int
    ) -> str | None:
        """The hash that RECORD gives, where the file still is what was recorded."""
        found = _stat(path)
        if file.hash is None or found is None or found.st_size != file.size:
            return self._digest(path)
        if found.st_ctime_ns <= installed_ns:
            return file.hash.value
        taken = self._sha256(path) if file.hash.mode == "sha256" else None
        if taken is None:
            return self._digest(path)
        return base64.urlsafe_b64encode(bytes.fromhex(taken)).decode().rstrip("=")


def _blob_digest(path: str) -> str | None:
    try:
        return blob_digest(path)
    except OSError:
        return None


def _is_content(file: PurePosixPath) -> bool:
    if file.suffix == ".pyc" or file.parts[:1] == ("..",):
        return False
    return not (file.parent.suffix == ".dist-info" and file.name in PER_INSTALL)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None
