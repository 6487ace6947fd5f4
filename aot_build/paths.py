"""Declared paths and modules, found in the project and written by role."""

import dataclasses
import importlib.util
import os
from pathlib import Path

from aot_build.backends.protocol import Backend
from aot_build.core.kernel import Variant
from aot_build.errors import EnvironmentProblem, InputError, nearest
from aot_build.workspace import Workspace

PACKAGE = "{package:"


class Paths:
    """Resolves what kernels declare against one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._space = workspace
        self._project = str(workspace.settings.project)
        self._importable: set[str] = set()

    def by_role(self, variant: Variant, backend: Backend) -> Variant:
        """The variant with its sources and include directories written by role.

        Raises InputError for a missing Python module, EnvironmentProblem for a missing package.
        """
        sources = variant.source
        if backend.python_source:
            for source in sources:
                self.check_importable(source, f"source of kernel {variant.kernel.name!r}")
        else:
            sources = tuple(map(self._encode, sources))
        return dataclasses.replace(
            variant,
            source=sources,
            include_dirs=tuple(self._folder(d, variant) for d in variant.include_dirs),
        )

    def _encode(self, path: str) -> str:
        return self._space.roles.encode(os.path.normpath(os.path.join(self._project, path)))

    def _folder(self, path: str, variant: Variant) -> str:
        if not path.startswith(PACKAGE):
            return self._encode(path)
        name, _, rest = path[len(PACKAGE) :].partition("}")
        return self._encode(self._package(name, variant) + rest)

    def _package(self, name: str, variant: Variant) -> str:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            spec = None
        places = list(spec.submodule_search_locations or ()) if spec else []
        if not places:
            raise EnvironmentProblem(
                f"package {name!r} is not installed",
                {"needed by": f"include-dirs of kernel {variant.kernel.name!r}"},
                f"add it to [build-system] requires, or: pip install {name.replace('_', '-')}",
            )
        place = os.path.abspath(places[0])
        # An isolated build finds it in another folder each time.
        self._space.add_root(f"package:{name}", place)
        return place

    def missing(self, path: str, variant: Variant) -> InputError:
        """The error for a declared source that is not there."""
        full = Path(self._space.roles.decode(path))
        names = os.listdir(full.parent) if full.parent.is_dir() else []
        near = nearest(full.name, names)
        shown = os.path.relpath(full, self._project)
        return InputError(
            f"source of kernel {variant.kernel.name!r} not found",
            {"source": shown, "where": variant.where or None, "searched": self._project},
            f"did you mean {os.path.join(os.path.dirname(shown), near)!r}?"
            if near
            else "paths count from the folder of pyproject.toml",
        )

    def check_importable(self, source: str, where: str) -> None:
        """Raise InputError where no module of `module:attribute` can be found; imports nothing."""
        if source in self._importable:
            return
        module, colon, attribute = source.partition(":")
        parts = module.split(".")
        if not colon or not attribute or not all(p.isidentifier() for p in parts):
            raise InputError(
                f"{source!r} is not of the form package.module:attribute", {"where": where}
            )
        roots = [Path(root) for root in self._space.settings.import_roots]
        if not any(_has_module(root, parts) for root in roots) and not _installed(parts[0]):
            raise InputError(
                f"module {module!r} not found",
                {"source": source, "where": where, "searched": ", ".join(map(str, roots))},
                _module_hint(roots, parts),
            )
        self._importable.add(source)


def _has_module(root: Path, parts: list[str]) -> bool:
    base = root.joinpath(*parts)
    return base.is_dir() or any(base.with_name(base.name + end).exists() for end in (".py", ".so"))


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _module_hint(roots: list[Path], parts: list[str]) -> str:
    for root in roots:
        folder = root.joinpath(*parts[:-1])
        if folder.is_dir():
            near = nearest(parts[-1], [p.stem for p in folder.iterdir()])
            if near:
                return f"did you mean {'.'.join([*parts[:-1], near])!r}?"
    return "modules are looked for in the project, then among the installed packages"
