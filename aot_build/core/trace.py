"""What a finished action was seen to read, and to look for in vain.

All paths carry roles (`{project}/a.h`, `{system}/usr/include/stdio.h`, `{dist:numpy}`), so that a
trace made in one checkout can be verified in another. A trace says *what* was looked at; the
digests of what is there now are taken when it is verified.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Absences = tuple[tuple[str, tuple[str, ...]], ...]
"""Folders that were there, each with the paths below it that were not: of thousands of headers
that were looked for in vain, most lie under a few folders."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Each tuple is sorted and free of duplicates."""

    files: tuple[str, ...] = ()
    """Files that were read as bytes or text."""
    modules: tuple[str, ...] = ()
    """Python sources that were imported and never opened as text: only their syntax matters."""
    present: tuple[str, ...] = ()
    """Paths that were looked at and not read: what kind of a file is there, and how large."""
    absent: Absences = ()
    """Paths that were looked for and not found, relative to the nearest folder that was there."""
    listings: tuple[str, ...] = ()
    """Directories whose names were listed."""
    programs: tuple[str, ...] = ()
    """Names of programs that were looked up on PATH."""
    distributions: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Installed distributions, each with those of its files that were used."""
    env: tuple[str, ...] = ()
    """Environment variables that were looked up, set or not."""

    @property
    def missing(self) -> Iterator[str]:
        """The whole paths of `absent`."""
        return (f"{folder}/{name}" for folder, names in self.absent for name in names)


def by_folder(missing: Iterable[tuple[str, str]]) -> Absences:
    """Absences out of pairs of a folder and what was not found below it."""
    found: dict[str, set[str]] = {}
    for folder, name in missing:
        found.setdefault(folder, set()).add(name)
    return tuple((folder, tuple(sorted(found[folder]))) for folder in sorted(found))
