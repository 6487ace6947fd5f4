"""What packages read while the forkserver imported them: part of the traces of those who use them.

A worker finds them imported: nothing tells it that numpy once looked up a variable, or that torch
brought numpy along. So each package keeps an imprint, and an action that imports a package gets
its imprint and those of all that it had imported, as if it had been first.

An imprint also tells which actions must not find the package imported: one whose environment is
not what the package saw, and one whose project has a module of that name.
"""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aot_build.backends.tracing.imports import by_importer, passed_over
from aot_build.backends.tracing.listening import listen
from aot_build.backends.tracing.probes import Probes

ACTIONS_ENV = frozenset(
    {"TMPDIR", "TEMP", "TMP", "TRITON_CACHE_DIR", "TRITON_DEFAULT_FP_FUSION",
     "TRITON_DISABLE_LINE_INFO", "TRITON_STORE_BINARY_ONLY"}
)  # fmt: skip
"""Each action has values of its own: whoever asked while it was imported has another's."""
OWN_PACKAGE = __name__.partition(".")[0]
LIBRARY_ENV = (
    "BLIS_", "CUDA_", "GOMP_", "GOTO_", "HIP_", "HSA_", "KMP_", "LD_", "MALLOC_", "MKL_", "NCCL_",
    "NUMEXPR_", "NVIDIA_", "OMP_", "OPENBLAS_", "PYTORCH_", "ROCR_", "TBB_", "TORCH_",
)  # fmt: skip
"""Families of names that shared libraries read while they are loaded, where nobody sees it."""
_NOT_PACKAGES = sys.stdlib_module_names | {"aot_build", "__main__", ""}


@dataclass(slots=True)
class Imprint:
    """What one top-level package did while it was imported."""

    imports: set[str] = field(default_factory=set)
    """Other top-level packages."""
    env: dict[str, str | None] = field(default_factory=dict)
    """Variables that it looked up, with the values that it saw."""
    opened: set[str] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)


class Imprints:
    """Of all packages that this process had imported before it was forked for its action."""

    def __init__(self) -> None:
        self._of: dict[str, Imprint] = {}
        self._module = ""
        self._probes: Probes | None = None
        self._own: set[str] = set()

    # The forkserver calls these (execute/preload.py, ImportWatch)

    def begin(self, module: str, *, trial: bool) -> None:
        """A module is about to be imported; in a trial it is also seen what must not be."""
        self._module, self._own = module.partition(".")[0], set()
        if trial:
            self._probes = self._probes or Probes()
            self._probes.begin()
        listen(self)

    def end(self) -> str:
        """It was imported, or failed. Why it must not be imported for others; empty where it may.

        What it did stays in its imprint.
        """
        listen(None)
        asked = self._probes.end() if self._probes is not None else ""
        if self._own and not asked:
            return f"looks up {min(self._own)}, which is each action's own"
        return asked

    # Workers ask

    def of(self, package: str) -> Imprint:
        """The imprint of a package; an empty one where it was not imported beforehand."""
        return self._of.get(package) or Imprint()

    def used(self, packages: Iterable[str]) -> set[str]:
        """The packages, and all that they had imported when they were."""
        found: set[str] = set()
        waiting = list(packages)
        while waiting:
            package = waiting.pop()
            if package not in found:
                found.add(package)
                waiting += self.of(package).imports
        return found

    def clash(self, changes: Mapping[str, str | None], roots: Sequence[str]) -> str:
        """Why an action must not find the packages imported; empty where it may.

        `changes` are the variables that it sets, None for what it takes away; `roots` are the
        folders that it imports from first.
        """
        for name, value in changes.items():
            family = self._of and name.startswith(LIBRARY_ENV)
            if family and os.environ.get(name) != value:
                return f"{name} is read when libraries are loaded"
        for package, imprint in self._of.items():
            for name, seen in imprint.env.items():
                own = changes[name] if name in changes else os.environ.get(name)
                if own != seen and (name in changes or name not in ACTIONS_ENV):
                    return f"{package} saw another {name}"
            if package == OWN_PACKAGE:
                # The project may be this very one: its workers are what it is.
                continue
            if any(os.path.lexists(path) for path in passed_over(package, roots)):
                return f"the project has a module {package}"
        return ""

    # Listener

    def opened(self, path: str, writes: bool) -> None:
        if not writes and not by_importer(2):
            self._blamed().opened.add(path)

    def written(self, path: str) -> None:
        pass

    def listed(self, path: str) -> None:
        self._blamed().listed.add(path)

    def missed(self, path: str) -> None:
        self._blamed().missed.add(path)

    def found(self, path: str) -> None:
        pass

    def looked_up(self, name: str, value: str | None) -> None:
        self._blamed().env.setdefault(name, value)
        if name in ACTIONS_ENV:
            self._own.add(name)

    def imported(self, name: str, names: tuple[str, ...], by: dict[str, Any]) -> None:
        if self._probes is not None:
            self._probes.arm()
        top = name.partition(".")[0]
        importer = by.get("__name__", "").partition(".")[0]
        if top in _NOT_PACKAGES or top == importer:
            return
        self._of.setdefault(top, Imprint())
        if importer in _NOT_PACKAGES:
            self._blamed().imports.add(top)
        else:
            self._of.setdefault(importer, Imprint()).imports.add(top)

    def _blamed(self) -> Imprint:
        """Of the package whose code is running: what Python's own modules do, they do for it."""
        frame = sys._getframe(2)
        package = ""
        while frame is not None and package in _NOT_PACKAGES:
            package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            frame = frame.f_back  # type: ignore[assignment]
        if package in _NOT_PACKAGES:
            package = self._module
        return self._of.setdefault(package, Imprint())


IMPRINTS = Imprints()
