"""Where a worker stands that looks kernels up: on the examined tree, with caches of its own."""

import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from aot_build.core.inquiry import Surroundings

CACHES = {"HOME": "", "XDG_CACHE_HOME": "cache", "TMPDIR": "tmp", "TRITON_CACHE_DIR": "triton"}
"""Variable -> folder below the worker's own, so that nothing of the user's is read or written."""
UNSET = ("TRITON_HOME", "FLYDSL_RUNTIME_CACHE_DIR")
"""These would lead back to the user's caches."""
COMPILERS = ("TRITON_", "FLYDSL_")
"""What a declaration tells a compiler: in production nobody does, and it may be part of a key."""


def prepare(around: Surroundings, env: Mapping[str, str]) -> str:
    """Have imports find the package with the examined tree. Gives the worker's own folder."""
    own = tempfile.mkdtemp(dir=around.scratch)
    for name, folder in CACHES.items():
        os.environ[name] = os.path.join(own, folder)
        os.makedirs(os.environ[name], exist_ok=True)
    for name in UNSET:
        os.environ.pop(name, None)
    for name, value in env.items():
        if not name.startswith(COMPILERS):
            os.environ[name] = value.replace("{out_dir}", own)
    os.environ["AOT_RUNTIME"] = "strict"
    tempfile.tempdir = None
    os.chdir(own)
    sys.path[:] = [*around.roots, *around.path]
    if around.tree:
        sys.meta_path.insert(0, _Finder(around))
    return own


def runtime(around: Surroundings) -> Any:
    """The runtime module of the examined tree, which imports the package first."""
    return importlib.import_module(f"{around.package}._aot")


def internals(around: Surroundings, module: str) -> ModuleType:
    """A module of the runtime."""
    return importlib.import_module(f"{around.package}._aot.{module}")


class _Finder:
    """Finds the examined tree as the package's `_aot`, which a source tree holds elsewhere."""

    def __init__(self, around: Surroundings) -> None:
        self._name, self._tree = f"{around.package}._aot", around.tree

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """See importlib.abc.MetaPathFinder."""
        if name != self._name:
            return None
        file = os.path.join(self._tree, "__init__.py")
        return importlib.util.spec_from_file_location(
            name, file, submodule_search_locations=[self._tree]
        )
