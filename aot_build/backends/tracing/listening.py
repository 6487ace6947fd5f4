"""What Python code reads through, wrapped once a process; whoever listens is told.

Where the forkserver wraps it before it imports the first package, no package holds an original:
past a wrapper that came later, `from os import environ` would read unseen.

An audit hook (PEP 578) cannot be taken off again, and the rest is left where it is: this is for
the forkserver and for workers, which run one action and end.
"""

import builtins
import functools
import importlib
import os
import sys
from collections.abc import Callable, ItemsView, Iterator, MutableMapping, ValuesView
from typing import Any, Protocol

from aot_build.backends.tracing import records
from aot_build.backends.tracing.imports import by_importer
from aot_build.core.environment import WHOLE

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Listener(Protocol):
    """Is told of what happens, at once; paths are absolute."""

    def opened(self, path: str, writes: bool) -> None: ...

    def written(self, path: str) -> None:
        """A file came to stand at this path in one step."""

    def listed(self, path: str) -> None:
        """Somebody listed a folder who is no importer."""

    def missed(self, path: str) -> None:
        """Somebody looked at what is not there: no audit event tells of that."""

    def found(self, path: str) -> None:
        """Somebody looked at what is there, and did not read it by that."""

    def looked_up(self, name: str, value: str | None) -> None:
        """An environment variable, None where it is not set."""

    def imported(self, name: str, names: tuple[str, ...], by: dict[str, Any]) -> None:
        """`import name`, or `from name import names`, was carried out or failed; `by` are the
        globals of whoever asked."""


_listener: Listener | None = None
_environ: "ListeningEnviron | None" = None
"""Stands in the place of `os.environ`, once it does."""


def listen(listener: Listener | None) -> None:
    """Have this one told, and nobody else, from here on: of a variable only where it is as it was
    when nobody was told."""
    global _listener, _environ
    _listener = listener
    if _environ is None:
        _environ = ListeningEnviron(os.environ)
        _install(_environ)
    if listener is None:
        _environ.forget()


def _install(environ: "ListeningEnviron") -> None:
    sys.addaudithook(_audit)
    original = builtins.__import__
    builtins.__import__ = _watched_import(original)
    importlib.import_module = _watched_import_module(importlib.import_module)
    os.stat = _watched_stat(os.stat)
    os.lstat = _watched_stat(os.lstat)
    os.access = _watched_access(os.access)
    _mute_importer()
    os.environ = environ  # type: ignore[assignment]  # noqa: B003 (it wraps the old one)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    listener = _listener
    if listener is None:
        return
    if event == "open":
        path, _, flags = args
        if isinstance(path, (str, bytes)):
            listener.opened(absolute(path), isinstance(flags, int) and bool(flags & _WRITES))
    elif event in ("os.listdir", "os.scandir"):
        path = "." if args[0] is None else args[0]
        if isinstance(path, (str, bytes)) and not by_importer(1):
            listener.listed(absolute(path))
    elif event in ("os.rename", "os.link", "os.symlink"):
        listener.written(absolute(args[1]))


def _watched_stat(original: Callable[..., Any]) -> Callable[..., Any]:
    def watched(path: Any, **options: Any) -> Any:
        try:
            found = original(path, **options)
        except (FileNotFoundError, NotADirectoryError):
            if _listener is not None and options.get("dir_fd") is None:
                _listener.missed(absolute(path))
            raise
        if _listener is not None and options.get("dir_fd") is None and not isinstance(path, int):
            _listener.found(absolute(path))
        return found

    return _as_able(watched, original)


def _watched_access(original: Callable[..., bool]) -> Callable[..., bool]:
    def watched(path: Any, mode: int, **options: Any) -> bool:
        allowed = original(path, mode, **options)
        if _listener is not None and options.get("dir_fd") is None and not isinstance(path, int):
            told = _listener.found if allowed else _listener.missed
            told(absolute(path))
        return allowed

    return _as_able(watched, original)


def _as_able(watched: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """Have it stand in the sets that say what a function can do, beside the original."""
    able = (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks)
    for each in (*able, os.supports_effective_ids):
        if original in each:
            each.add(watched)
    return watched


def _mute_importer() -> None:
    """Have the tracer leave out what the importer does: where modules are sought, and that they
    are read by being imported, is told otherwise."""
    external = sys.modules["_frozen_importlib_external"]
    for owner, name in (("SourceLoader", "get_code"), ("SourcelessFileLoader", "get_code")):
        setattr(getattr(external, owner), name, _muted(getattr(getattr(external, owner), name)))
    finder = external.PathFinder
    finder.find_spec = staticmethod(_muted(finder.find_spec))


def _muted(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def muted(*args: Any, **options: Any) -> Any:
        with records.mute():
            return original(*args, **options)

    return muted


def _watched_import(original: Callable[..., Any]) -> Callable[..., Any]:
    def watched(
        name: str,
        globals: dict[str, Any] | None = None,
        locals: Any = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        try:
            return original(name, globals, locals, fromlist, level)
        finally:
            if _listener is not None:
                by = globals or {}
                if level:
                    name = _resolved(name, level, by)
                _listener.imported(name, tuple(fromlist or ()), by)

    return watched


def _resolved(name: str, level: int, by: dict[str, Any]) -> str:
    """What a relative import names. See PEP 328."""
    package = by.get("__package__") or by.get("__name__", "")
    base = ".".join(package.split(".")[: package.count(".") + 2 - level])
    return f"{base}.{name}" if name else base


def _watched_import_module(original: Callable[..., Any]) -> Callable[..., Any]:
    def watched(name: str, package: str | None = None) -> Any:
        try:
            return original(name, package)
        finally:
            if _listener is not None and not name.startswith("."):
                _listener.imported(name, (), sys._getframe(1).f_globals)

    return watched


class ListeningEnviron(MutableMapping[str, str]):
    """`os.environ`; the listener is told of each name that is looked up, set or not.

    Taking all of it along, as `{**os.environ}` does for a subprocess, looks nothing up.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._environ = environ
        self.changed: set[str] = set()
        """Names that were set or taken away."""
        self._copied: list[str] = []
        """Names that a copy in progress asks for next, the next one last."""

    def forget(self) -> None:
        """Tell also of the names that were set so far."""
        self.changed.clear()

    def __getitem__(self, name: object) -> str:
        if not isinstance(name, str):
            # `os.get_exec_path` asks with bytes, and lives on the TypeError that it is owed.
            return self._environ[name]  # type: ignore[index]
        if self._copied and self._copied[-1] == name:
            self._copied.pop()
        else:
            self._copied = []
            if _listener is not None and name not in self.changed:
                _listener.looked_up(name, self._environ.get(name))
        return self._environ[name]

    def __setitem__(self, name: str, value: str) -> None:
        self.changed.add(name)
        self._environ[name] = value

    def __delitem__(self, name: str) -> None:
        self.changed.add(name)
        del self._environ[name]

    def __iter__(self) -> Iterator[str]:
        """Copies come here by way of `keys`, which is told by nobody."""
        _tell_whole(sys._getframe(1).f_globals)
        names = list(self._environ)
        self._copied = names[::-1]
        return iter(names)

    def __len__(self) -> int:
        return len(self._environ)

    def items(self) -> ItemsView[str, str]:
        """The project's code that goes through all of them reads them all; `subprocess` and
        packages go through them to hand them on."""
        _tell_whole(sys._getframe(1).f_globals)
        return super().items()

    def values(self) -> ValuesView[str]:
        """As `items`."""
        _tell_whole(sys._getframe(1).f_globals)
        return super().values()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environ, name)

    def __or__(self, other: Any) -> dict[str, str]:
        return dict(self._environ) | dict(other)

    def __ror__(self, other: Any) -> dict[str, str]:
        return dict(other) | dict(self._environ)

    def __ior__(self, other: Any) -> "ListeningEnviron":
        self.update(other)
        return self

    def copy(self) -> dict[str, str]:
        """As `os.environ.copy()`: a plain dict."""
        return dict(self._environ)


def _tell_whole(by: dict[str, Any]) -> None:
    """All variables were gone through, by code with these globals."""
    if _listener is not None and not _of_others(by):
        _listener.looked_up(WHOLE, None)


def _of_others(namespace: dict[str, Any]) -> bool:
    """Whether these are the globals of a module of Python's own, or of an installed package."""
    top = str(namespace.get("__name__")).partition(".")[0]
    return top in sys.stdlib_module_names or "-packages/" in str(namespace.get("__file__"))


def changed_names() -> set[str]:
    """The environment variables that were set or taken away since somebody began to listen."""
    return set(_environ.changed) if _environ is not None else set()


def absolute(path: str | bytes) -> str:
    """The path from the root."""
    return os.path.abspath(os.fsdecode(path))
