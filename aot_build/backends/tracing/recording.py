"""See what a Python action reads: what its imports and calls show here, and what the tracer saw of
native code and of the programs that it starts.

This is for worker processes, which run one action and end.
"""

import functools
import os
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from aot_build.backends.tracing import records
from aot_build.backends.tracing.absences import absences
from aot_build.backends.tracing.hermetic import OWN_FOLDER, nobodys, trespasses
from aot_build.backends.tracing.imports import passed_over
from aot_build.backends.tracing.imprints import IMPRINTS, OWN_PACKAGE
from aot_build.backends.tracing.listening import absolute, changed_names, listen
from aot_build.backends.tracing.observed import Observed, Watch, merged, search_path
from aot_build.core.compiler_env import LOADER_PATH
from aot_build.core.environment import UNRECORDED, WHOLE, is_ambient, reads_all, trusts_times
from aot_build.core.roles import Roles
from aot_build.core.trace import Trace
from aot_build.core.trespass import READS, Trespass
from aot_build.core.work import WorkOrder, WorkReport

if TYPE_CHECKING:
    from importlib.metadata import DistributionFinder


class Recording:
    """Start it before the code under watch is imported; ask for the trace when it is done."""

    def __init__(self, order: WorkOrder) -> None:
        self._order, self._roles = order, Roles(order.roots)
        # That file names the environment's own place.
        ignored = (
            *nobodys(order), *_python_folders(), OWN_FOLDER,
            os.path.join(sys.prefix, "pyvenv.cfg"), *(p for p in sys.path if p.endswith(".zip")),
        )  # fmt: skip
        self._ignore = tuple(path.rstrip(os.sep) + os.sep for path in ignored)
        self._watch = Watch(order.scratch, programs_only=False)
        self._found: set[str] = set()
        self._opened: Counter[str] = Counter()
        self._written: set[str] = set()
        self._listed: set[str] = set()
        self._missed: set[str] = set()
        self._variables: set[str] = set()
        self._packages: set[str] = set()
        self._asked: dict[str, None] = {}
        """Modules that the project's code or a call imported, in order; some are attributes."""
        self._sought: dict[str, tuple[str, ...]] = {}
        self._versions: set[str] = set()
        """Of distributions that were asked for by name, installed or not: what tells it."""
        self._before = set(sys.modules)

    def start(self) -> None:
        """Watch from here on."""
        sys.meta_path.insert(0, self)
        listen(self)
        self._watch.start()

    # Listener

    def opened(self, path: str, writes: bool) -> None:
        """What the action wrote itself is not its input, unless it was read before."""
        if not writes and path not in self._written:
            self._opened[path] += 1
        elif writes and path not in self._opened:
            self._written.add(path)

    def written(self, path: str) -> None:
        self._written.add(path)

    def listed(self, path: str) -> None:
        self._listed.add(path)

    def missed(self, path: str) -> None:
        self._missed.add(path)

    def found(self, path: str) -> None:
        self._found.add(path)

    def looked_up(self, name: str, value: str | None) -> None:
        self._variables.add(name)

    def imported(self, name: str, names: tuple[str, ...], by: dict[str, Any]) -> None:
        top = name.partition(".")[0]
        if top != by.get("__name__", "").partition(".")[0]:
            self._packages.add(top)
        if not getattr(by.get("__spec__"), "_initializing", False) or not _installed(by):
            # By the project's own code, or by a package's at the time when it was called.
            self._asked.setdefault(name)
            for each in names:
                self._asked.setdefault(f"{name}.{each}")

    # What it came to

    def report(self) -> WorkReport:
        """What was read so far. Third-party packages stand under their import names."""
        # What is looked at from here on is for the sake of the trace.
        listen(None)
        seen = self._watch.observed() or Observed()
        as_text = seen.read | {p for p, times in self._opened.items() if times > 1}
        told = trespasses(self._order, self._with_own(seen), self._variables)
        used = IMPRINTS.used(self._packages)
        self._add_imprints(used)
        seen = self._with_own(seen)
        sources, packages = self._imports(used)
        for path in _inside_packages(seen):
            packages.setdefault(_package_of(path), set()).add(path)
        # The import itself opens a source once; whoever opens it again wants its text.
        modules = sources - as_text
        by_times = any(trusts_times(os.path.basename(each)) for each in seen.ran)
        read = seen.read | seen.found - seen.written if by_times else seen.read
        files = {p for p in read | sources if self._counts(p)} - modules
        trace = Trace(
            files=self._encode(p for p in files if os.path.isfile(p)),
            modules=self._encode(modules),
            present=self._encode(p for p in seen.looked_at(self._order) if self._counts(p)),
            absent=absences(self._looked_for(seen, files, sources, set(packages)), self._roles),
            listings=self._encode(p for p in seen.listed if self._counts(p) and os.path.isdir(p)),
            programs=tuple(sorted(seen.programs(search_path()))),
            env=tuple(sorted(self._looked_up(seen) | _home(told))),
        )
        for top in self._sought_in_vain() | self._versions:
            packages.setdefault(top, set())
        for path in _libraries():
            if (top := _package_of(path)) in packages:
                packages[top].add(path)
        files_of = {top: self._encode(paths) for top, paths in packages.items()}
        return WorkReport(
            trace, files_of, imports=self._third_party(), gap=seen.gap, trespasses=told
        )

    def _with_own(self, seen: Observed) -> Observed:
        """What the tracer saw, with what was seen here: all there is where it is not loaded."""
        here = Observed(
            read=set(self._opened),
            found=self._found,
            missed=self._missed,
            listed=self._listed,
            written=self._written,
        )
        return merged(seen, here)

    def _looked_for(
        self, seen: Observed, files: set[str], sources: set[str], packages: set[str]
    ) -> set[str]:
        passed = _passed_by_loader(seen.read)
        found = {p for p in (*files, *seen.missed, *passed) if self._counts(p)}
        return found | self._shadows(sources, packages) | set(self._sooner(packages))

    def _looked_up(self, seen: Observed) -> set[str]:
        """Names of variables: not those that the action, or who started it, has set itself."""
        set_here = {name for name, _ in self._order.action.env} | changed_names()
        native = {name for name in seen.variables - set_here if not is_ambient(name)}
        whole = {WHOLE} if any(reads_all(os.path.basename(each)) for each in seen.ran) else set()
        inside = tuple(folder + os.sep for folder in _loader_folders())
        loaded = any(p.startswith(inside) and ".so" in os.path.basename(p) for p in seen.read)
        loader = {LOADER_PATH} - set_here if loaded else set()
        return (self._variables - UNRECORDED) | native | whole | loader

    def _add_imprints(self, used: Iterable[str]) -> None:
        """What packages read that were imported before: as if they had been imported now."""
        for top in used:
            imprint = IMPRINTS.of(top)
            # Twice: an import opens a module's source once, and this was read as a file.
            self._opened.update(dict.fromkeys(imprint.opened, 2))
            self._listed |= imprint.listed
            self._missed |= imprint.missed
            self._variables |= imprint.env.keys()

    def _third_party(self) -> tuple[str, ...]:
        """What is worth having imported before the next action: installed packages alone."""
        found = ((name, sys.modules.get(name)) for name in self._asked)
        return tuple(name for name, module in found if module and _installed(vars(module)))

    def _encode(self, paths: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(map(self._roles.encode, paths)))

    def _imports(self, used: set[str]) -> tuple[set[str], dict[str, set[str]]]:
        """Sources of modules outside site-packages; name of each package there -> its files."""
        sources: set[str] = set()
        packages: dict[str, set[str]] = {}
        for name, module in list(sys.modules.items()):
            top = name.partition(".")[0]
            # Not getattr: modules that load their parts when they are asked for would do so now.
            path = getattr(module, "__dict__", {}).get("__file__")
            if not isinstance(path, str) or top == OWN_PACKAGE:
                continue
            if name in self._before and top not in used:
                continue
            path = absolute(path)
            if _in_site_packages(path):
                packages.setdefault(top, set()).add(path)
            elif self._counts(path) and os.path.isfile(path):
                # In an archive it is none, and the archive was opened.
                sources.add(path)
        return sources, packages

    def _shadows(self, sources: set[str], packages: set[str]) -> set[str]:
        """Files of the project that the imports would have taken, had they existed."""
        inside = [p for p in map(absolute, sys.path) if self._of_project(p)]
        shadows: set[str] = set()
        packages = {top for top in packages if not top.endswith(".dist-info")}
        for top in packages | {n for n in self._packages if n not in sys.modules}:
            shadows.update(passed_over(top, inside))
        for path in sources:
            folder, name = os.path.split(path)
            if name.startswith("__init__."):
                folder, name = os.path.split(folder)
            folders = inside[: inside.index(folder)] if folder in inside else []
            shadows.update(passed_over(name.partition(".")[0], [*folders, folder], path))
        return shadows

    def _sooner(self, packages: set[str]) -> Iterator[str]:
        """Where what was sought may appear one day, and would be found first. What had been
        imported before would have been sought now."""
        path = tuple(map(absolute, sys.path))
        for name, folders in {
            **dict.fromkeys(packages & self._before, path),
            **self._sought,
        }.items():
            module, last = sys.modules.get(name), name.rpartition(".")[2]
            file = getattr(module, "__dict__", {}).get("__file__")
            found = absolute(file) if isinstance(file, str) else ""
            spec = getattr(module, "__dict__", {}).get("__spec__")
            origin = getattr(spec, "origin", None)
            if origin in ("built-in", "frozen"):
                continue
            for folder in folders:
                if self._counts(folder) or ("." in name and not found):
                    tried = tuple(passed_over(last, (folder,)))
                    yield from passed_over(last, (folder,), found)
                    if found in tried:
                        break
                elif found.startswith((f"{folder}/{last}.", f"{folder}/{last}/")):
                    break

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:
        """Find nothing, but note what is sought: the import machinery asks here first."""
        folders = sys.path if path is None else path
        self._sought.setdefault(name, tuple(map(absolute, folders)))

    def find_distributions(self, asked: "DistributionFinder.Context") -> tuple[()]:
        """Find none, but note whose version is asked for: importlib.metadata asks here first."""
        if asked.name:
            self._versions.add(f"{asked.name}-.dist-info")
        return ()

    def _sought_in_vain(self) -> set[str]:
        """Packages that the project's code would import, if only they were installed."""
        tops = {name.partition(".")[0] for name in self._asked}
        return {top for top in tops & self._packages if top not in sys.modules}

    def _of_project(self, folder: str) -> bool:
        return self._roles.encode(folder).startswith("{project}") and self._counts(folder)

    def _counts(self, path: str) -> bool:
        """Whether a path may be somebody's input: not ours, not Python's own, not a device."""
        path += os.sep
        return not path.startswith(self._ignore) and not _in_site_packages(path)


@functools.cache
def _python_folders() -> set[str]:
    paths = sysconfig.get_paths()
    return {os.path.realpath(paths[n]) for n in ("stdlib", "platstdlib")} | {
        paths[n] for n in ("stdlib", "platstdlib")
    }


def _home(trespasses: Iterable[Trespass]) -> set[str]:
    """`HOME`, where the action read what the user keeps there: another home is another file."""
    home = os.path.abspath(os.environ.get("HOME") or os.sep)
    read = (each.path for each in trespasses if each.deed == READS)
    kept = home != os.sep and any(path.startswith(home + os.sep) for path in read)
    return {"HOME"} if kept else set()


def _installed(namespace: dict[str, Any]) -> bool:
    """Whether these are the names of a module of an installed package."""
    path, name = namespace.get("__file__"), str(namespace.get("__name__"))
    if name.partition(".")[0] == OWN_PACKAGE or not isinstance(path, str):
        return False
    return _in_site_packages(path)


def _loader_folders() -> list[str]:
    """Where the loader, which asks nobody for its variables, looks for libraries first."""
    return [absolute(d) for d in os.environ.get(LOADER_PATH, "").split(os.pathsep) if d]


def _passed_by_loader(read: Iterable[str]) -> Iterator[str]:
    """Where libraries would have come first: the loader's own looks are not seen."""
    folders = _loader_folders()
    for folder, name in map(os.path.split, read):
        if ".so" in name:
            earlier = folders[: folders.index(folder)] if folder in folders else folders
            yield from (os.path.join(each, name) for each in earlier)


def _libraries() -> set[str]:
    """Shared libraries in this process, those included that were there before the action."""
    try:
        with open("/proc/self/maps", errors="surrogateescape") as stream:
            paths = {line.partition("/")[2].rstrip("\n") for line in stream}
    except OSError:
        return set()
    return {f"/{path}" for path in paths if ".so" in path}


def _in_site_packages(path: str) -> bool:
    return "/site-packages/" in path or "/dist-packages/" in path


def _inside_packages(seen: Observed) -> Iterator[str]:
    """What was read, looked at or looked for in the folders of installed packages; a folder that
    was listed ends in a slash."""
    yield from (path for path in seen.read if _package_of(path) and os.path.isfile(path))
    for path in (*seen.found, *seen.missed, *(folder + os.sep for folder in seen.listed)):
        # Beside them, it is the importer that looks for another.
        if (top := _package_of(path)) and f"/{top}/" in path:
            yield path


def _package_of(path: str) -> str:
    """The import name behind a file in site-packages, or what tells the version of its
    distribution; empty for other metadata."""
    for folder in ("/site-packages/", "/dist-packages/"):
        if folder in path:
            top, _, name = path.rpartition(folder)[2].partition("/")
            if top.endswith(".dist-info") and name == "METADATA":
                return top
            # Whoever asks for entry points reads those of every package, and of what it vendors.
            if top.endswith((".egg-info", ".pth")) or ".dist-info/" in f"{top}/{name}":
                return ""
            return top.partition(".")[0]
    return ""


# Known before the first fork, they cost nothing afterwards.
_python_folders()
records.loaded()
