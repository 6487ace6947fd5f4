"""What Python code reads through, wrapped once a process; whoever listens is told.

Where the forkserver wraps it before it imports the first package, no package holds an original:
past a wrapper that came later, `from os import environ` would read unseen.

An audit hook (PEP 578) cannot be taken off again, and the rest is left where it is: this is for
the forkserver and for workers, which run one action and end.
"""

import builtins
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol

from aot_build.backends.tracing import records
from aot_build.backends.tracing.environ import BytesEnviron, ListeningEnviron
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
_environ: ListeningEnviron | None = None
"""Stands in the place of `os.environ`, once it does."""
_forked = False
"""Whether this process was forked by an action: nobody here writes a trace."""


def listen(listener: Listener | None) -> None:
    """Have this one told, and nobody else, from here on: of a variable only where it is as it was
    when nobody was told."""
    global _listener, _environ, _forked
    if _environ is not None:
        _environ.settle()
    _listener, _forked = listener, False
    if _environ is None:
        _environ = ListeningEnviron(os.environ, _looked_up)
        _install(_environ)
    if listener is None:
        _environ.forget()


def _install(environ: ListeningEnviron) -> None:
    sys.addaudithook(_audit)
    original = builtins.__import__
    builtins.__import__ = _watched_import(original)
    importlib.import_module = _watched_import_module(importlib.import_module)
    importlib.util.find_spec = _watched_import_module(importlib.util.find_spec)
    os.stat = _watched_stat(os.stat)
    os.lstat = _watched_stat(os.lstat)
    os.access = _watched_access(os.access)
    _mute_importer()
    os.environ = environ  # type: ignore[assignment]  # noqa: B003 (it wraps the old one)
    os.environb = BytesEnviron(environ)  # type: ignore[assignment]
    os.register_at_fork(after_in_child=_after_fork)


def _looked_up(name: str, value: str | None) -> None:
    if _listener is not None:
        _listener.looked_up(name, value)
    elif _forked:
        records.look_up(name)


def _after_fork() -> None:
    """What a child tells the listener is lost with it: from here on it is for the tracer to see
    all that there is, imports too, and it is told what it cannot see."""
    global _listener, _forked
    _listener, _forked = None, _listener is not None


def _audit(event: str, args: tuple[Any, ...]) -> None:
    listener = _listener
    if listener is None:
        return
    if event == "open":
        path, _, flags = args
        if isinstance(path, (str, bytes)):
            if _is_environment(os.fsdecode(path)):
                listener.looked_up(WHOLE, None)
            listener.opened(absolute(path), isinstance(flags, int) and bool(flags & _WRITES))
    elif event in ("os.listdir", "os.scandir"):
        path = "." if args[0] is None else args[0]
        if isinstance(path, (str, bytes)) and not by_importer(1):
            listener.listed(absolute(path))
    elif event in ("os.rename", "os.link", "os.symlink"):
        listener.written(absolute(args[1]))


def _is_environment(path: str) -> bool:
    return path.startswith("/proc/") and path.endswith("/environ")


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
        if _forked:
            return original(*args, **options)
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


def changed_names() -> set[str]:
    """The environment variables that were set or taken away since somebody began to listen."""
    return set(_environ.changed) if _environ is not None else set()


def absolute(path: str | bytes) -> str:
    """The path from the root."""
    return os.path.abspath(os.fsdecode(path))
