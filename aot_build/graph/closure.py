"""The state of what a trace names, as it is now: files, absences, listings, packages, environment.

A trace is a list of questions; the closure is their answers. Equal answers mean that the action
would read the same bytes again.
"""

import ast
import os
import warnings
from collections.abc import Callable, Mapping

from aot_build.core.roles import Roles
from aot_build.core.trace import Trace
from aot_build.digest import bytes_digest, key_digest
from aot_build.files import StatIndex
from aot_build.graph.keys import Closure

IGNORED = frozenset({"__pycache__", "_aot", "build", "cache", ".git"})
"""Names that are part of no listing: outputs of builds, this one's among them."""


class ClosureReader:
    """Answers traces; each distinct question is asked once a build."""

    def __init__(
        self,
        roles: Roles,
        index: StatIndex,
        distribution: Callable[[str], str],
        env: Mapping[str, str],
    ) -> None:
        """`distribution` gives the identity of an installed distribution by name."""
        self._roles = roles
        self._index = index
        self._distribution = distribution
        self._env = env
        self._closures: dict[str, Closure] = {}
        self._syntax: dict[str, str | None] = {}

    def closure(self, trace: Trace, trace_id: str | None = None) -> Closure:
        """The answers to a trace."""
        trace_id = trace_id or key_digest(trace)
        found = self._closures.get(trace_id)
        if found is None:
            found = self._closures[trace_id] = self._read(trace)
        return found

    def _read(self, trace: Trace) -> Closure:
        return Closure(
            files={p: self._file(p) for p in trace.files},
            modules={p: self._module(p) for p in trace.modules},
            absent={p: self._absent(p) for p in trace.absent},
            listings={p: self._listing(p) for p in trace.listings},
            distributions={name: self._distribution(name) for name in trace.distributions},
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

    def _absent(self, path: str) -> bool | None:
        try:
            return os.path.lexists(self._roles.decode(path)) or None
        except KeyError:
            return None

    def _listing(self, path: str) -> str | None:
        try:
            return listing_digest(self._roles.decode(path))
        except KeyError:
            return None

    def _variable(self, name: str) -> str | None:
        value = self._env.get(name)
        return None if value is None else self._roles.encode_text(value)

    def inputs(self, trace: Trace) -> list[str]:
        """Absolute paths of the files behind a trace."""
        return [self._roles.decode(p) for p in (*trace.files, *trace.modules)]


def listing_digest(folder: str) -> str | None:
    """Digest of the names in a folder, outputs of builds left out; None where it is no folder."""
    try:
        names = sorted(n for n in os.listdir(folder) if n not in IGNORED)
    except OSError:
        return None
    return key_digest(names)


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
