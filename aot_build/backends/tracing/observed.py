"""What the processes of an action were seen to do, as what a trace holds.

The tracer's records come in the order of their first occurrence: what was written before it was
read is the action's own, and nobody's input.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from aot_build.backends.tracing import records
from aot_build.backends.tracing.records import Log
from aot_build.core.work import WorkOrder

LOG = "trace"
"""Name of the log in an action's scratch folder."""


@dataclass(slots=True)
class Observed:
    """Absolute paths, each as it was said, `..` resolved."""

    read: set[str] = field(default_factory=set)
    """Opened, loaded or executed."""
    found: set[str] = field(default_factory=set)
    """Looked at and there."""
    missed: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    ran: set[str] = field(default_factory=set)
    """Programs, which are among those read."""
    untraceable: set[str] = field(default_factory=set)
    """Programs that the tracer cannot follow."""
    variables: set[str] = field(default_factory=set)
    """Looked up by native code."""
    gap: str = ""
    """Why something may be missing, though the tracer was there."""
    strays: bool = False
    """Whether a program ran that the tracer did not reach."""

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        return not self.gap and not self.strays

    def looked_at(self, order: WorkOrder) -> Iterator[str]:
        """Paths whose kind and size count: what was read or listed counts by more than that, and
        the folders around it are there."""
        read = {path for path in self.read if not os.path.isdir(path)}
        around = _around((*read, *self.listed))
        known = read | self.listed | self.written | known_folders(order)
        # A folder that somebody tried to open as a file was looked at.
        for path in (self.found | self.read) - known:
            if os.path.lexists(path) and (path not in around or os.path.islink(path)):
                yield path
        # A link that leads nowhere was missed by where it leads: it may also be put elsewhere.
        yield from (path for path in self.missed - known - self.found if os.path.islink(path))

    def programs(self, search: Iterable[str]) -> set[str]:
        """Names of the programs that the folders `search`, those of PATH, were searched for.

        Whoever names a program by its whole path leaves no look at an earlier folder behind.
        """
        folders = [os.path.abspath(folder) for folder in search]
        return {
            os.path.basename(path)
            for path in self.ran | self.found
            if os.path.dirname(path) in folders and self._was_sought(path, folders)
        }

    def _was_sought(self, path: str, folders: list[str]) -> bool:
        folder, name = os.path.split(path)
        earlier = folders[: folders.index(folder)]
        if not earlier:
            return path in self.ran
        return all(os.path.join(each, name) in self.missed for each in earlier)


def merged(one: Observed, other: Observed) -> Observed:
    """What either saw; the gaps are those of the first."""
    both = {name: getattr(one, name) | getattr(other, name) for name in _SETS}
    return dataclasses.replace(one, **both)


def observe(log: Log, real: Callable[[str], str] | None = None) -> Observed:
    """What a log says. `real` gives the path behind a name; default: the name itself."""
    seen = Observed(gap=log.reason, strays=log.strays)
    made: set[str] = set()
    looks = {"s": seen.found, "a": seen.missed, "d": seen.listed, "r": seen.read, "l": seen.read}
    for kind, said in log.records:
        if kind == "e":
            seen.variables.add(said)
            continue
        path = plain(real(said) if real else said)
        if kind == "w":
            seen.written.add(path)
            if path not in seen.read and path not in seen.listed and path not in seen.found:
                made.add(path)
        elif not made or not _is_within(path, made):
            if kind in ("x", "u"):
                seen.ran.add(path)
                seen.read.add(path)
                if kind == "u":
                    seen.untraceable.add(path)
            else:
                looks[kind].add(path)
    seen.found -= seen.read
    return seen


_SETS = tuple(f.name for f in dataclasses.fields(Observed) if f.name not in ("gap", "strays"))


def _is_within(path: str, made: set[str]) -> bool:
    """Whether the action made this, or a folder around it."""
    at = len(path)
    while at > 0:
        if path[:at] in made:
            return True
        at = path.rfind(os.sep, 0, at)
    return False


def plain(path: str) -> str:
    """The path without `.` and `..`, as the system would go it: behind a link, `..` leads to where
    that leads."""
    at = path.rfind("/..")
    if at >= 0 and path[at + 3 : at + 4] in ("", "/"):
        path = _real(path[: at + 3]) + path[at + 3 :]
    return os.path.normpath(path)


@functools.cache
def _real(folder: str) -> str:
    return os.path.realpath(folder)


class Watch:
    """The tracer's log of one action, in the worker that performs it."""

    def __init__(self, scratch: str, *, programs_only: bool) -> None:
        """`programs_only` leaves out what this process does itself, but not what it starts."""
        self._path = os.path.join(scratch, LOG)
        self._programs_only = programs_only
        self._on = False
        self._held = -1

    def start(self) -> None:
        """Watch from here on, where the tracer is loaded."""
        if records.loaded():
            records.create(self._path)
            self._on = records.begin(self._path, muted=self._programs_only)
            # An action may empty its scratch folder.
            self._held = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def observed(self, real: Callable[[str], str] | None = None) -> Observed | None:
        """What was seen; None where there is no tracer."""
        if not self._on:
            return None
        records.end()
        path = self._path
        if not os.path.exists(path):
            path = f"/proc/self/fd/{self._held}"
        return observe(records.read(path), real)


def search_path() -> list[str]:
    """The folders of PATH. The library's own function imports what an action may have spoilt."""
    return os.environ.get("PATH", os.defpath).split(os.pathsep)


def known_folders(order: WorkOrder) -> set[str]:
    """The roots, an action's own folders, those of PATH, and all that these lie in: that they are
    there, whoever goes through a path by its parts will see, and it says nothing.

    What is found in the folders of PATH counts, wherever it is; each isolated build has its own.
    """
    search = map(os.path.abspath, search_path())
    own = (*order.roots.values(), order.out_dir, order.scratch, *search)
    return {*own, *_around(own)}


def _around(paths: Iterable[str]) -> set[str]:
    """All folders that the paths lie in."""
    found: set[str] = set()
    for path in paths:
        folder = os.path.dirname(path)
        while folder not in found:
            found.add(folder)
            folder = os.path.dirname(folder)
    return found
