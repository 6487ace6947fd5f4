"""What a project declares, read raw: enough for file lists and yes-or-no questions.

The settings room reads the same table with every check; commands such as `sdist` and `egg_info`
ask earlier and more often than that, and must not fail on what it would report better.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aot_build.commands.listing import files_below, headers_below, inside
from aot_build.layout import RESULT


@dataclass(frozen=True)
class Declared:
    """The raw `[tool.aot-build]` table of the project in the absolute folder `project`."""

    project: str
    table: Mapping[str, Any]

    def package(self, distribution_name: str) -> str:
        """The import package that carries the artifacts; named after the project if unsaid."""
        named = self.table.get("package")
        return named if isinstance(named, str) else re.sub(r"[-.]+", "_", distribution_name)

    def kernels(self) -> list[Mapping[str, Any]]:
        """The kernel tables, those of the wrong shape left out."""
        return _tables(self.table.get("kernels"))

    def source_files(self, import_roots: Iterable[str] = ()) -> list[str]:
        """Files that the kernels are built from, relative to the project, sorted.

        Sources and the headers below their folders, every file in an include directory of the
        project, config files, and the modules behind `module:function` (looked for below
        `import_roots` and the project, both as folders relative to the project).
        """
        roots = sorted({*import_roots, ""})
        found: set[str] = set()
        for table in self._tables_with_files():
            sources, configs = _strings(table.get("source")), _strings(table.get("configs"))
            for name in (*sources, *configs):
                found.update(self._named(name, roots))
            for name in sources:
                found.update(self._headers(name))
            for name in _strings(table.get("include-dirs")):
                found.update(self._include_dir(name))
        return sorted(name for name in found if not self.leaves_out(name))

    def leaves_out(self, name: str) -> bool:
        """Whether a file, relative to the project, is of a build: never part of an sdist."""
        return self.is_result(name) or _starts(name, ["build"])

    def is_result(self, name: str) -> bool:
        """Whether a file or folder, relative to the project, is an artifact or cached."""
        cache = self.cache_dir()
        return RESULT in _parts(name) or (cache is not None and _starts(name, cache))

    def cache_dir(self) -> list[str] | None:
        """The names that lead to a cache folder inside the project; None where it has none."""
        named = self.table.get("cache-dir")
        within = inside(self.project, named) if isinstance(named, str) else None
        return within.split(os.sep) if within else None

    def _tables_with_files(self) -> Iterator[Mapping[str, Any]]:
        yield from self.kernels()
        for table in (self.table, *_tables(self.table.get("overrides"))):
            defaults = table.get("defaults")
            if isinstance(defaults, Mapping):
                yield from _tables(list(defaults.values()))

    def _named(self, name: str, roots: list[str]) -> Iterator[str]:
        """What a source or a config names: a file of the project, or `module:function`."""
        if ":" in name:
            yield from self._modules(name, roots)
        elif file := self._file(name):
            yield file

    def _headers(self, source: str) -> Iterator[str]:
        """The headers beside a source file, and in the folders below."""
        if file := self._file(source):
            yield from headers_below(self.project, os.path.dirname(file))

    def _file(self, name: str) -> str | None:
        """The path of an existing file inside the project, relative to it."""
        file = inside(self.project, name)
        return file if file and os.path.isfile(os.path.join(self.project, file)) else None

    def _include_dir(self, name: str) -> Iterator[str]:
        folder = inside(self.project, name.replace("{project}", self.project))
        if folder is None:
            return
        # The whole project as include directory means its headers, not its .git and its venvs.
        yield from (files_below if folder else headers_below)(self.project, folder)

    def _modules(self, reference: str, roots: list[str]) -> Iterator[str]:
        parts = reference.partition(":")[0].split(".")
        for root in roots:
            for depth in range(1, len(parts) + 1):
                yield from self._module(os.path.join(root, *parts[:depth]))

    def _module(self, stem: str) -> Iterator[str]:
        for name in (f"{stem}.py", os.path.join(stem, "__init__.py")):
            if not os.path.isfile(os.path.join(self.project, name)):
                continue
            yield name
            folder = os.path.dirname(name)
            if folder:
                # What a module imports from beside it is needed as much as the module itself.
                beside = sorted(os.listdir(os.path.join(self.project, folder)))
                yield from (os.path.join(folder, f) for f in beside if f.endswith(".py"))


def _parts(name: str) -> list[str]:
    return os.path.normpath(name).split(os.sep)


def _starts(name: str, parts: list[str]) -> bool:
    return _parts(name)[: len(parts)] == parts


def _strings(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, str)]


def _tables(value: object) -> list[Mapping[str, Any]]:
    return [v for v in value if isinstance(v, Mapping)] if isinstance(value, list) else []
