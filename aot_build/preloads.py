"""What the workers of a build find imported: learned from the actions of the builds before it.

Beside the results, in the cache directory, as the next build may stand in another folder: the
modules of installed packages that each kernel's actions imported. It is advice and decides
nothing: without it, or with a damaged one, workers import for themselves.
"""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from aot_build.core.work import WorkReport
from aot_build.files import read_at_once, write_atomic
from aot_build.toolchains.distributions import Distributions

FOLDER = "preloads-v1"
MOST_MODULES = 200
"""Of one kernel; and of one build."""
LEAST_ACTIONS = 2
"""What one action alone would import is imported where it runs: nobody waits for less."""
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class Learned(msgspec.Struct, forbid_unknown_fields=True):
    """The record of one package's builds."""

    kernels: dict[str, list[str]] = {}
    """Kernel -> modules that its actions imported when they last ran, in that order."""
    refused: dict[str, str] = {}
    """Module -> the version of its package that could not be preloaded."""


class Preloads:
    """Of one build. Tell it what each action imported, ask it what those to come will."""

    def __init__(
        self,
        cache_dir: Path,
        package: str,
        distributions: Distributions,
        import_roots: Sequence[str | os.PathLike[str]],
    ) -> None:
        """`package` is what the result ships in; the project's modules lie in `import_roots`."""
        self._path = cache_dir / FOLDER / package
        self._distributions = distributions
        self._roots = [os.fspath(root) for root in import_roots]
        self._known = _read(self._path)
        self._young: dict[str, dict[str, None]] = {}
        self._given: set[str] = set()
        self._fit: dict[str, bool] = {}

    def wanted(self, kernels: Iterable[str]) -> list[str]:
        """What to preload for actions of these kernels, one name an action, most used first.

        No module is given twice: the forkserver has it or has refused it.
        """
        users: Counter[str] = Counter()
        for kernel, actions in Counter(kernels).items():
            for module in self._known.kernels.get(kernel, ()):
                users[module] += actions
        often = [m for m, actions in users.most_common() if actions >= LEAST_ACTIONS]
        young = [m for m in often if m not in self._given and self._may_be_preloaded(m)]
        found = young[: max(0, MOST_MODULES - len(self._given))]
        self._given.update(found)
        return found

    def learn(self, kernel: str, report: WorkReport) -> None:
        """Take note of what an action of a kernel imported."""
        self._young.setdefault(kernel, {}).update(dict.fromkeys(report.imports))

    def save(self, kernels: Iterable[str], refused: Mapping[str, str]) -> None:
        """Keep what was learned for the next build. A cache that takes nothing is left alone.

        `kernels` are all that the project declares; `refused` says why modules were not
        preloaded.
        """
        declared = set(kernels)
        known = {k: v for k, v in self._known.kernels.items() if k in declared}
        known |= {k: list(v)[:MOST_MODULES] for k, v in self._young.items() if k in declared}
        known = {k: v for k, v in known.items() if v}
        named = {module for modules in known.values() for module in modules}
        young = {m: self._version(m) for m in refused if m in self._given}
        old = {m: v for m, v in self._known.refused.items() if m in named}
        learned = Learned(known, old | young)
        with contextlib.suppress(OSError):
            if learned != self._known:
                write_atomic(self._path, msgspec.json.encode(learned, order="sorted"))
            elif known:
                os.utime(self._path)  # What is old goes first, when the cache is swept.

    # Whose modules they are

    def _may_be_preloaded(self, module: str) -> bool:
        top = module.partition(".")[0]
        if top not in self._fit:
            self._fit[top] = self._is_installed(top)
        if not self._fit[top]:
            return False
        refused = self._known.refused.get(module)
        return refused is None or refused != self._version(module)

    def _is_installed(self, top: str) -> bool:
        """Whether a package is what an installer put there, and nothing of the project's."""
        if top in sys.stdlib_module_names or top == "aot_build" or self._in_project(top):
            return False
        owners = self._distributions.owners(top)
        return bool(owners) and all(_was_installed(owner, top) for owner in owners)

    def _in_project(self, top: str) -> bool:
        """Whether workers would find it in the project: they look there first."""
        places = [os.path.join(root, top) for root in self._roots]
        return any(os.path.isdir(p) or os.path.isfile(f"{p}.py") for p in places)

    def _version(self, module: str) -> str:
        found = self._distributions.owners(module.partition(".")[0])
        return " ".join(f"{name} {_version_of(name)}" for name in found)


def _read(path: Path) -> Learned:
    """The record; an empty one where there is none, or none that can be read."""
    try:
        found = msgspec.json.decode(read_at_once(path), type=Learned)
    except (OSError, msgspec.MsgspecError):
        return Learned()
    # It may come with a shared cache: only what reads like a module is taken for one.
    for kernel, modules in found.kernels.items():
        found.kernels[kernel] = [m for m in modules if _MODULE.fullmatch(m)][:MOST_MODULES]
    return found


def _was_installed(name: str, top: str) -> bool:
    """Whether a distribution has a RECORD, is not editable, and is where `top` comes from."""
    try:
        found = importlib.metadata.distribution(name)
        spec = importlib.util.find_spec(top)
        direct = json.loads(found.read_text("direct_url.json") or "{}")
    except (importlib.metadata.PackageNotFoundError, ImportError, ValueError):
        return False
    if found.read_text("RECORD") is None or direct.get("dir_info", {}).get("editable"):
        return False
    if spec is None:
        return False
    places = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else ())]
    home = os.path.realpath(str(found.locate_file("")))
    return all(os.path.realpath(place).startswith(home + os.sep) for place in places)


def _version_of(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
