"""`<package>._aot` in a worker, where nothing is built yet: the runtime, with no kernels.

A package that calls `_aot.install()` when it is imported must import in the very build that makes
its `_aot`; and what an earlier build left in the source tree must not be read.
"""

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from aot_build.layout import MANIFEST, RUNTIME

EMPTY = {"version": 1, "package": "", "mode": "", "producer": "", "toolchains": {}, "kernels": {}}


class UnbuiltKernels:
    """Finds one module, `<package>._aot`; it is laid out in `scratch` when somebody imports it."""

    def __init__(self, package: str, runtime: str, scratch: str) -> None:
        """`runtime` is the path of the runtime's `__init__.py`; the rest lies beside it."""
        self._name = f"{package}._aot"
        self._runtime = os.path.dirname(runtime)
        self._folder = os.path.join(scratch, "_aot")

    def start(self) -> None:
        """Answer before the source tree does."""
        sys.meta_path.insert(0, self)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See importlib.abc.MetaPathFinder."""
        if name != self._name:
            return None
        os.makedirs(self._folder, exist_ok=True)
        for each in RUNTIME:
            shutil.copy(os.path.join(self._runtime, each), self._folder)
        with open(os.path.join(self._folder, MANIFEST), "w") as stream:
            json.dump({**EMPTY, "package": name.rpartition(".")[0]}, stream)
        source = os.path.join(self._folder, RUNTIME[0])
        return importlib.util.spec_from_file_location(name, source)
