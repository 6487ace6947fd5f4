"""See what Python code reads while it runs: opens, imports, listings, environment.

An audit hook (PEP 578) cannot be taken off again: this is for worker processes, which run one
action and end.
"""

import builtins
import functools
import importlib
import os
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from typing import Any

from aot_build.backends.imports import listed_by_importer, passed_over
from aot_build.core import threads
from aot_build.core.roles import Roles
from aot_build.core.trace import Trace
from aot_build.core.work import WorkReport

OWN_PACKAGE = "aot_build"
UNRECORDED = frozenset(
    {"PATH", "PYTHONPATH", "HOME", "USER", "LOGNAME", "HOSTNAME", "TMPDIR", "TEMP", "TMP", "PWD",
     "OLDPWD", "COLUMNS", "LINES", "TERM", "PYTHONHASHSEED", "NO_COLOR", "MAX_JOBS", "MAKEFLAGS",
     "MAKELEVEL", "MFLAGS", "CARGO_MAKEFLAGS", "TRITON_CACHE_DIR", "TRITON_HOME",
     *threads.VARIABLES}
)  # fmt: skip
"""They differ between users, machines and isolated builds without changing what is built; those
about threads are the same in each worker, and what a kernel declares of them is keyed as that."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Recording:
    """Start it before the code under watch is imported; ask for the trace when it is done."""

    def __init__(self, roles: Roles, ignore: tuple[str, ...]) -> None:
        """`ignore` are folders whose files are nobody's input: outputs and scratch."""
        self._roles = roles
        own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        nobodys = (*ignore, *_python_folders(), own, "/proc", "/sys", "/dev")
        self._ignore = tuple(path.rstrip(os.sep) + os.sep for path in nobodys)
        self._opened: Counter[str] = Counter()
        self._written: set[str] = set()
        self._listed: set[str] = set()
        self._missed: set[str] = set()
        self._variables: set[str] = set()
        self._packages: set[str] = set()
        self._sought: dict[str, tuple[str, ...]] = {}
        self._before = set(sys.modules)

    def start(self) -> None:
        """Watch from here on."""
        sys.addaudithook(self._audit)
        sys.meta_path.insert(0, self)
        original = builtins.__import__
        builtins.__import__ = self._watched_import(original)
        importlib.import_module = self._watched_import_module(importlib.import_module)
        os.stat = self._watched_stat(os.stat)
        os.lstat = self._watched_stat(os.lstat)
        recorded = RecordingEnviron(os.environ, self._variables)
        os.environ = recorded  # type: ignore[assignment]  # noqa: B003 (it wraps the old one)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if isinstance(path, (str, bytes)):
                self._note_open(_absolute(path), isinstance(flags, int) and bool(flags & _WRITES))
        elif event in ("os.listdir", "os.scandir"):
            path = "." if args[0] is None else args[0]
            if isinstance(path, (str, bytes)) and not listed_by_importer(1):
                self._listed.add(_absolute(path))
        elif event in ("os.rename", "os.link", "os.symlink"):
            self._written.add(_absolute(args[1]))

    def _watched_stat(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """No audit event tells of a look at what is not there, as `os.path.exists` takes."""

        def watched(path: Any, **options: Any) -> Any:
            try:
                return original(path, **options)
            except (FileNotFoundError, NotADirectoryError):
                if options.get("dir_fd") is None:
                    self._missed.add(_absolute(path))
                raise

        for able in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if original in able:
                able.add(watched)
        return watched

    def _note_open(self, path: str, writes: bool) -> None:
        """What the action wrote itself is not its input, unless it was read before."""
        if not writes and path not in self._written:
            self._opened[path] += 1
        elif writes and path not in self._opened:
            self._written.add(path)

    def _watched_import(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def watched(name: str, *args: Any, **kwargs: Any) -> Any:
            level = args[3] if len(args) > 3 else kwargs.get("level", 0)
            if not level:
                self._packages.add(name.partition(".")[0])
            return original(name, *args, **kwargs)

        return watched

    def _watched_import_module(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def watched(name: str, package: str | None = None) -> Any:
            if not name.startswith("."):
                self._packages.add(name.partition(".")[0])
            return original(name, package)

        return watched

    def report(self) -> WorkReport:
        """What was read so far. Third-party packages stand under their import names."""
        opened = dict(self._opened)
        sources, packages = self._imports()
        for path in opened:
            if os.path.isfile(path) and (top := _package_of(path)):
                packages.setdefault(top, set()).add(path)
        read = {p for p in opened if self._counts(p)}
        # The import itself opens a source once; whoever opens it again wants its text.
        modules = {p for p in sources if opened.get(p, 0) <= 1}
        files = (read | sources) - modules
        listed = {p for p in self._listed if self._counts(p) and os.path.isdir(p)}
        looked_for = {p for p in (*files, *self._missed) if self._counts(p)}
        looked_for |= self._shadows(sources, set(packages)) | set(self._unfound())
        trace = Trace(
            files=self._encode(p for p in files if os.path.isfile(p)),
            modules=self._encode(modules),
            absent=self._encode(p for p in looked_for if not os.path.lexists(p)),
            listings=self._encode(listed),
            distributions=tuple(sorted(packages)),
            env=tuple(sorted(self._variables - UNRECORDED)),
        )
        return WorkReport(trace, {top: self._encode(paths) for top, paths in packages.items()})

    def _encode(self, paths: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(map(self._roles.encode, paths)))

    def _imports(self) -> tuple[set[str], dict[str, set[str]]]:
        """Sources of modules outside site-packages; name of each package there -> its files."""
        sources: set[str] = set()
        packages: dict[str, set[str]] = {}
        for name, module in list(sys.modules.items()):
            top = name.partition(".")[0]
            path = getattr(module, "__file__", None)
            if not isinstance(path, str) or top == OWN_PACKAGE:
                continue
            if name in self._before and top not in self._packages:
                continue
            path = _absolute(path)
            if _in_site_packages(path):
                packages.setdefault(top, set()).add(path)
            elif self._counts(path):
                sources.add(path)
        return sources, packages

    def _shadows(self, sources: set[str], packages: set[str]) -> set[str]:
        """Files of the project that the imports would have taken, had they existed."""
        inside = [p for p in map(_absolute, sys.path) if self._of_project(p)]
        shadows: set[str] = set()
        for top in packages | {n for n in self._packages if n not in sys.modules}:
            shadows.update(passed_over(top, inside))
        for path in sources:
            folder, name = os.path.split(path)
            if name.startswith("__init__."):
                folder, name = os.path.split(folder)
            folders = inside[: inside.index(folder)] if folder in inside else []
            shadows.update(passed_over(name.partition(".")[0], [*folders, folder], path))
        return shadows

    def _unfound(self) -> Iterator[str]:
        """Where submodules that were not there may appear one day."""
        for name, folders in self._sought.items():
            if name not in sys.modules:
                yield from passed_over(name.rpartition(".")[2], map(_absolute, folders))

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:
        """Find nothing, but note what is sought: the import machinery asks here first."""
        if path is not None:
            self._sought[name] = tuple(path)

    def _of_project(self, folder: str) -> bool:
        return self._roles.encode(folder).startswith("{project}") and self._counts(folder)

    def _counts(self, path: str) -> bool:
        """Whether a path may be somebody's input: not ours, not Python's own, not a device."""
        path += os.sep
        return not path.startswith(self._ignore) and not _in_site_packages(path)


class RecordingEnviron(MutableMapping[str, str]):
    """`os.environ`, and a note of each name that is looked up, set or not.

    Taking all of it along, as `{**os.environ}` does for a subprocess, looks nothing up.
    """

    def __init__(self, environ: MutableMapping[str, str], looked_up: set[str]) -> None:
        self._environ = environ
        self._looked_up = looked_up
        self._set: set[str] = set()
        self._copied: list[str] = []
        """Names that a copy in progress asks for next, the next one last."""

    def __getitem__(self, name: object) -> str:
        if not isinstance(name, str):
            # `os.get_exec_path` asks with bytes, and lives on the TypeError that it is owed.
            return self._environ[name]  # type: ignore[index]
        if self._copied and self._copied[-1] == name:
            self._copied.pop()
        else:
            self._copied = []
            if name not in self._set:
                self._looked_up.add(name)
        return self._environ[name]

    def __setitem__(self, name: str, value: str) -> None:
        self._set.add(name)
        self._environ[name] = value

    def __delitem__(self, name: str) -> None:
        self._set.add(name)
        del self._environ[name]

    def __iter__(self) -> Iterator[str]:
        names = list(self._environ)
        self._copied = names[::-1]
        return iter(names)

    def __len__(self) -> int:
        return len(self._environ)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environ, name)

    def __or__(self, other: Any) -> dict[str, str]:
        return dict(self._environ) | dict(other)

    def __ror__(self, other: Any) -> dict[str, str]:
        return dict(other) | dict(self._environ)

    def __ior__(self, other: Any) -> "RecordingEnviron":
        self.update(other)
        return self

    def copy(self) -> dict[str, str]:
        """As `os.environ.copy()`: a plain dict."""
        return dict(self._environ)


def _absolute(path: str | bytes) -> str:
    return os.path.abspath(os.fsdecode(path))


@functools.cache
def _python_folders() -> set[str]:
    paths = sysconfig.get_paths()
    return {os.path.realpath(paths[n]) for n in ("stdlib", "platstdlib")} | {
        paths[n] for n in ("stdlib", "platstdlib")
    }


def _in_site_packages(path: str) -> bool:
    return "/site-packages/" in path or "/dist-packages/" in path


def _package_of(path: str) -> str:
    """The import name behind a file in site-packages; empty for metadata."""
    for folder in ("/site-packages/", "/dist-packages/"):
        if folder in path:
            top = path.rpartition(folder)[2].partition("/")[0]
            return (
                "" if top.endswith((".dist-info", ".egg-info", ".pth")) else top.partition(".")[0]
            )
    return ""


_python_folders()  # Known before the first fork, it costs nothing afterwards.
