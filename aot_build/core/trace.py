"""The files, present and absent, that a finished action was seen to read.

All paths carry roles (`{project}/a.h`, `{system}/usr/include/stdio.h`, `{dist:numpy}`), so that a
trace made in one checkout can be verified in another. A trace says *what* was looked at; the
digests of what is there now are taken when it is verified.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trace:
    """Each tuple is sorted and free of duplicates."""

    files: tuple[str, ...] = ()
    """Files that were read as bytes or text."""
    modules: tuple[str, ...] = ()
    """Python sources that were imported and never opened as text: only their syntax matters."""
    absent: tuple[str, ...] = ()
    """Paths that were looked for and not found."""
    listings: tuple[str, ...] = ()
    """Directories whose names were listed."""
    distributions: tuple[str, ...] = ()
    """Installed distributions that modules were imported from."""
    env: tuple[str, ...] = ()
    """Environment variables that were looked up, set or not."""
