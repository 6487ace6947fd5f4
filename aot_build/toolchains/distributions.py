"""Installed distributions as inputs: identified without reading gigabytes, edits seen all the same.

An unedited one is told by name, version and its RECORD (PyPA specification "Recording installed
projects"), whose hashes stand for the content. A file is read where RECORD gives no hash for it,
where its size disagrees with RECORD, and where it is younger than RECORD, which installers write
last: an edit can keep size and mtime, not ctime; a copy of an edited tree has new ctimes, but may
have kept the mtimes.
"""

import base64
import importlib.machinery
import importlib.metadata
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from aot_build.digest import blob_digest, key_digest
from aot_build.toolchains.record import Record, Records

METADATA = ".dist-info"
UNOWNED = "import:"
"""Before the name of an import package that no distribution provides."""


@dataclass(frozen=True, slots=True)
class _Installed:
    """A distribution that was found: what was recorded of it, and where it lies."""

    record: Record
    folder: str
    changed_ns: int
    modified_ns: int
    """Of its RECORD; zero where it has none."""


class Distributions:
    """What is installed for this interpreter; each is looked at once a build."""

    def __init__(
        self,
        digest: Callable[[str], str | None],
        sha256: Callable[[str], str | None] | None = None,
        records: Path | None = None,
    ) -> None:
        """`digest` is for files that nobody has recorded, `sha256` (in hexadecimal) for those to
        be compared with what was. What RECORDs say is kept in the folder `records` for the next
        build: that of torch has 14,000 lines."""
        self._digest = digest
        self._sha256 = sha256 or _blob_digest
        self._records = Records(records)
        self._found: dict[str, _Installed | None] = {}
        self._contents: dict[tuple[str, str], str | None] = {}
        self._identities: dict[tuple[str, tuple[str, ...] | None], str] = {}
        self._owners: dict[str, list[str]] | None = None
        self.files: set[str] = set()
        """Absolute paths of the files that the identities stand for."""

    def owners(self, package: str) -> tuple[str, ...]:
        """Names of the distributions that provide a top-level import package, sorted; of a folder
        of metadata, the one that it is about."""
        if package.endswith(METADATA):
            return (package.removesuffix(METADATA).rpartition("-")[0],)
        if self._owners is None:
            self._owners = {
                name: sorted(set(found))
                for name, found in importlib.metadata.packages_distributions().items()
            }
        return tuple(self._owners.get(package, ()))

    def used(self, package: str, paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Whose the files are that were read of an import package: distribution -> their names,
        sorted, as RECORD has them. Empty where no distribution provides the package.

        `paths` are absolute; those that lie elsewhere than their distribution are left out.
        """
        owners = self.owners(package)
        named: dict[str, set[str]] = {owner: set() for owner in owners}
        # Bytecode is how it was installed, or used.
        for path in (path for path in paths if "/__pycache__/" not in path):
            inside = {owner: name for owner in owners if (name := self._name(owner, path))}
            for owner, name in inside.items():
                # A file that no RECORD names may be anybody's who has the folder.
                if name in self._record(owner).files or not any(
                    name in self._record(other).files for other in inside
                ):
                    named[owner].add(name)
        return {owner: tuple(sorted(names)) for owner, names in named.items()}

    def identity(self, name: str, used: Iterable[str] | None = None) -> str:
        """Changes exactly when the distribution's content does; `absent` where there is none.

        With `used`, names of files as `used()` gives them, only these are looked at: any other may
        be edited in place. Of unedited installs the text is the same whatever is used.
        """
        key = (name, None if used is None else tuple(used))
        if key not in self._identities:
            self._identities[key] = self._identify(*key)
        return self._identities[key]

    @property
    def searched(self) -> list[str]:
        """Absolute paths of the folders that were searched: what is installed there may be found
        instead of another, or of none. Empty where nobody asked."""
        asked = self._found or self._owners is not None
        return [os.path.abspath(place) for place in sys.path] if asked else []

    def contents(self, name: str, pattern: str) -> list[tuple[str, str, str]]:
        """Name, path and content of the recorded files whose names end like that: a regular
        expression. For people: nothing is said of what is not installed."""
        installed = self._installed(name)
        if installed is None:
            return []
        found = [f for f in installed.record.files if re.search(f"(?:{pattern})$", f)]
        return [
            (os.path.basename(file), os.path.join(installed.folder, file), content)
            for file in sorted(found)
            if (content := self._content(name, installed, file))
        ]

    def _identify(self, name: str, used: tuple[str, ...] | None) -> str:
        if name.startswith(UNOWNED):
            package = name.removeprefix(UNOWNED)
            return ", ".join(self.owners(package)) or _unowned(package)
        installed = self._installed(name)
        if installed is None:
            return "absent"
        record = installed.record
        self.files.update(record.own(installed.folder))
        names = record.files if used is None else {*used, *record.metadata}
        edited = []
        for file in sorted(names):
            content = self._content(name, installed, file)
            if content != record.files.get(file, (None, None))[0]:
                edited.append((file, content))
        return key_digest((record.name, record.version, record.digest, edited))

    def _content(self, name: str, installed: _Installed, file: str) -> str | None:
        """The hash that RECORD gives, where the file still is what was recorded."""
        key = (name, file)
        if key not in self._contents:
            path = os.path.join(installed.folder, file)
            self.files.add(path)
            self._contents[key] = self._look(path, installed, file)
        return self._contents[key]

    def _look(self, path: str, installed: _Installed, file: str) -> str | None:
        if file.endswith(os.sep):
            return _names(path, file, installed.record)
        recorded, size = installed.record.files.get(file, (None, None))
        found = _stat(path)
        if recorded is None or found is None or found.st_size != size:
            return self._digest(path)
        if found.st_ctime_ns <= installed.changed_ns and found.st_mtime_ns <= installed.modified_ns:
            return recorded
        kind, _, _ = recorded.partition("=")
        taken = self._sha256(path) if kind == "sha256" else None
        if taken is None:
            return self._digest(path)
        told = base64.urlsafe_b64encode(bytes.fromhex(taken)).decode().rstrip("=")
        return f"{kind}={told}"

    # Finding them

    def _record(self, name: str) -> Record:
        installed = self._installed(name)
        return installed.record if installed else Record()

    def _installed(self, name: str) -> _Installed | None:
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def _find(self, name: str) -> _Installed | None:
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            return None
        folder = str(found.locate_file(""))
        record = self._records.of(found)
        stat = _stat(os.path.join(folder, record.path)) if record.path else None
        return _Installed(
            record, folder, stat.st_ctime_ns if stat else 0, stat.st_mtime_ns if stat else 0
        )

    def _name(self, owner: str, path: str) -> str:
        """The name of a file in the folder that a distribution is installed to; else empty."""
        installed = self._installed(owner)
        if installed is None:
            return ""
        for folder in (installed.folder, os.path.realpath(installed.folder)):
            if path.startswith(os.path.join(folder, "")):
                return os.path.relpath(path, folder) + os.sep * path.endswith(os.sep)
        return ""


def _unowned(package: str) -> str:
    """Whether somebody has put it there by hand."""
    places = [place for place in sys.path if place.endswith("-packages")]
    found = importlib.machinery.PathFinder.find_spec(package, places)
    return "absent" if found is None else "without a distribution"


def _names(path: str, folder: str, record: Record) -> str | None:
    """Of a folder that was listed: None where it has the names that were recorded below it."""
    try:
        found = {name for name in os.listdir(path) if name != "__pycache__"}
    except OSError:
        found = set()
    below = (name[len(folder) :] for name in record.files if name.startswith(folder))
    recorded = {name.partition("/")[0] for name in below} - {"__pycache__"}
    return None if found == recorded else key_digest(sorted(found))


def _blob_digest(path: str) -> str | None:
    try:
        return blob_digest(path)
    except OSError:
        return None


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None
