"""The state of what a trace names, as it is now: files, absences, listings, packages, environment.

A trace is a list of questions; the closure is their answers. Equal answers mean that the action
would read the same bytes again.
"""

import ast
import os
import shutil
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping

from aot_build.core.environment import WHOLE, shaping
from aot_build.core.roles import Roles
from aot_build.core.trace import Absences, Trace
from aot_build.digest import bytes_digest, key_digest
from aot_build.files import StatIndex
from aot_build.graph.keys import Closure

IGNORED = frozenset({"__pycache__", "_aot", "build", "cache", ".git"})
"""Names that are part of no listing: outputs of builds, this one's among them."""
WORTH_LISTING = 4
"""Paths below one folder: fewer are looked for one by one."""


class ClosureReader:
    """Answers traces; each distinct question is asked once a build."""

    def __init__(
        self,
        roles: Roles,
        index: StatIndex,
        distribution: Callable[[str, tuple[str, ...]], str],
        env: Mapping[str, str],
    ) -> None:
        """`distribution` gives the identity of an installed distribution by name, of whose files
        some were used."""
        self._roles = roles
        self._index = index
        self._distribution = distribution
        self._env = env
        self._closures: dict[str, Closure] = {}
        self._known: dict[int, tuple[Trace, Closure]] = {}
        """By the identity of a trace, which is kept here so that it stays its own."""
        self._syntax: dict[str, str | None] = {}
        self._looks: dict[str, str | None] = {}
        self._listed: dict[str, frozenset[str]] = {}
        self._programs: dict[str, str | None] = {}

    def closure(self, trace: Trace, trace_id: str | None = None) -> Closure:
        """The answers to a trace."""
        # A store gives one object for one trace: to digest it for each variant would cost more
        # than to verify it once.
        known = self._known.get(id(trace))
        if known is not None:
            return known[1]
        trace_id = trace_id or key_digest(trace)
        found = self._closures.get(trace_id)
        if found is None:
            found = self._closures[trace_id] = self._read(trace)
        self._known[id(trace)] = trace, found
        return found

    def _read(self, trace: Trace) -> Closure:
        return Closure(
            files={p: self._file(p) for p in trace.files},
            modules={p: self._module(p) for p in trace.modules},
            present={p: self._present(p) for p in trace.present},
            absent=self._absent(trace.absent),
            listings={p: self._listing(p) for p in trace.listings},
            programs={name: self._program(name) for name in trace.programs},
            distributions={n: self._distribution(n, used) for n, used in trace.distributions},
            env={name: self._variable(name) for name in trace.env},
        )

    def _file(self, path: str) -> str | None:
        try:
            return self._index.digest(self._roles.decode(path))
        except KeyError:
            return None

    def _module(self, path: str) -> str | None:
        """Digest of the position-free syntax: comments and formatting do not count."""
        content = self._file(path)
        if content is None:
            return None
        if content not in self._syntax:
            self._syntax[content] = _syntax_digest(self._roles.decode(path))
        return self._syntax[content]

    def _present(self, path: str) -> str | None:
        if path not in self._looks:
            try:
                self._looks[path] = look(self._roles.decode(path), self._roles)
            except KeyError:
                self._looks[path] = None
        return self._looks[path]

    def _absent(self, absences: Absences) -> dict[str, bool | None]:
        """What is there by now, and what was asked: who asks less must not find the result of who
        asked more, whose other answers are the same."""
        asked = {key_digest(absences): None} if absences else {}
        return asked | dict.fromkeys(self._appeared(absences), True)

    def _appeared(self, absences: Absences) -> Iterator[str]:
        """The paths that are there by now."""
        for place, names in absences:
            try:
                folder = self._roles.decode(place)
            except KeyError:
                continue
            found = self._names(folder) if len(names) >= WORTH_LISTING else None
            for name in names:
                # What is not listed need not be looked for: most often that is all of them.
                listed = found is None or name.partition(os.sep)[0] in found
                if listed and os.path.lexists(f"{folder}/{name}"):
                    yield f"{place}/{name}"

    def _names(self, folder: str) -> frozenset[str]:
        if folder not in self._listed:
            try:
                self._listed[folder] = frozenset(os.listdir(folder))
            except OSError:
                self._listed[folder] = frozenset()
        return self._listed[folder]

    def _listing(self, path: str) -> str | None:
        try:
            return listing_digest(self._roles.decode(path))
        except KeyError:
            return None

    def _program(self, name: str) -> str | None:
        """Content of what a look-up on PATH finds now."""
        if name not in self._programs:
            found = shutil.which(name, path=self._env.get("PATH", os.defpath))
            real = os.path.realpath(found) if found else None
            self._programs[name] = self._index.digest(real) if real else None
        return self._programs[name]

    def _variable(self, name: str) -> str | None:
        if name == WHOLE:
            values = shaping(self._env)
            return key_digest({each: self._roles.encode_text(values[each]) for each in values})
        value = self._env.get(name)
        return None if value is None else self._roles.encode_text(value)

    def inputs(self, trace: Trace) -> list[str]:
        """Absolute paths of the files behind a trace."""
        return [self._roles.decode(p) for p in (*trace.files, *trace.modules)]


def is_ignored(name: str) -> bool:
    """Whether a name is part of no listing."""
    return name in IGNORED or name.endswith(".egg-info")


def look(path: str, roles: Roles) -> str | None:
    """What stat(2) tells of a path and a copy of it elsewhere keeps: kind, size, whether it can be
    executed, and where a link leads. None where there is nothing."""
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            real = os.path.realpath(path)
            # One that leads to itself is its own real path.
            there = None if os.path.islink(real) else look(real, roles)
            return f"link to {roles.encode_text(os.readlink(path))}: {there}"
    except OSError:
        return None
    if stat.S_ISDIR(found.st_mode):
        return "folder"
    if not stat.S_ISREG(found.st_mode):
        return "neither file nor folder"
    runs = ", executable" if found.st_mode & stat.S_IXUSR else ""
    return f"file of {found.st_size} bytes{runs}"


def listing_digest(folder: str) -> str | None:
    """Digest of the names in a folder and what kind of an entry each is, which a listing tells
    too; outputs of builds left out. None where it is no folder."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(_kind(each) + each.name for each in entries if not is_ignored(each.name))
    except OSError:
        return None
    return key_digest(names)


def _kind(entry: os.DirEntry[str]) -> str:
    return "@" if entry.is_symlink() else "/" if entry.is_dir(follow_symlinks=False) else ""


def _syntax_digest(path: str) -> str | None:
    try:
        with open(path, "rb") as stream:
            source = stream.read()
    except OSError:
        return None
    try:
        with warnings.catch_warnings():
            # What the parser thinks of an escape is for whoever imports the module to say.
            warnings.simplefilter("ignore")
            syntax = ast.dump(ast.parse(source))
        return bytes_digest(syntax.encode("utf-8", "surrogatepass"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return bytes_digest(source)
