"""Where the sources of the package lie, by the layouts that setuptools knows."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aot_build.errors import InputError, did_you_mean
from aot_build.settings.document import ROOT, Document


@dataclass(frozen=True)
class Layout:
    """`package_dir` is the package's folder; `import_roots` go on `sys.path`, the project last."""

    package: str
    package_dir: Path
    import_roots: tuple[Path, ...]


def find_layout(document: Document, package: str | None, given: object = None) -> Layout:
    """Find the package. `given` is its folder, or a mapping as setuptools' `package_dir`.

    Raises InputError where there is no such folder.
    """
    project = document.file.parent
    mapping = _mapping(document, given)
    roots = [project / root for root in _roots(document, mapping)]
    name = package or _project_package(document, roots, mapping)
    if not all(part.isidentifier() for part in name.split(".")):
        raise document.error(f"not the name of an import package: {name!r}", (*ROOT, "package"))
    if given is not None and not isinstance(given, Mapping):
        folders = [project / str(given)]
    else:
        folders = list(_folders(name, project, roots, mapping))
    for folder in folders:
        if folder.is_dir():
            return Layout(name, folder.resolve(), _import_roots(name, folder, roots, project))
    raise _missing(document, name, folders)


def _setuptools(document: Document) -> dict[str, Any]:
    found = document.values.get("tool", {}).get("setuptools", {})
    return found if isinstance(found, dict) else {}


def _mapping(document: Document, given: object) -> dict[str, str]:
    """Package -> folder, "" for the root of all others; what is not text is not for us to judge."""
    found = given if isinstance(given, Mapping) else _setuptools(document).get("package-dir", {})
    items = found.items() if isinstance(found, Mapping) else ()
    return {str(k): v for k, v in items if isinstance(v, str)}


def _roots(document: Document, mapping: Mapping[str, str]) -> Iterator[str]:
    """Folders that hold packages, in the order in which they are searched."""
    if "" in mapping:
        yield mapping[""]
    packages = _setuptools(document).get("packages", {})
    find = packages.get("find", {}) if isinstance(packages, dict) else {}
    where = find.get("where", []) if isinstance(find, dict) else []
    yield from (w for w in ([where] if isinstance(where, str) else where) if isinstance(w, str))
    yield from ("src", ".")


def _folders(
    name: str, project: Path, roots: list[Path], mapping: Mapping[str, str]
) -> Iterator[Path]:
    """Where the package may lie: its own entry, its parents' entries, the roots."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        if (parent := ".".join(parts[:count])) in mapping:
            yield project.joinpath(mapping[parent], *parts[count:])
    yield from (root.joinpath(*parts) for root in roots)


def _project_package(document: Document, roots: list[Path], mapping: Mapping[str, str]) -> str:
    """The name of the project as a package, where a folder has it."""
    found = document.values.get("project", {})
    name = found.get("name") if isinstance(found, dict) else None
    hint = 'set package = "..." in [tool.aot-build]'
    if not isinstance(name, str):
        raise document.error("the package is not named, nor is the project", ROOT, hint)
    plain = re.sub(r"[-_.]+", "_", name)
    for word in (plain.lower(), plain):
        if any(f.is_dir() for f in _folders(word, document.file.parent, roots, mapping)):
            return word
    searched = "\n".join(str(root) for root in dict.fromkeys(roots))
    message = f"no package {plain.lower()!r} for project {name!r}"
    raise document.error(message, ROOT, hint, searched=searched)


def _import_roots(name: str, folder: Path, roots: list[Path], project: Path) -> tuple[Path, ...]:
    """The folder from which the package imports, the other roots, the project."""
    parts = tuple(name.split("."))
    own = folder.resolve()
    first = [own.parents[len(parts) - 1]] if own.parts[-len(parts) :] == parts else []
    found = [*first, *(r.resolve() for r in roots if r.is_dir())]
    rest = [path for path in dict.fromkeys(found) if path != project]
    return (*rest, project)


def _missing(document: Document, name: str, folders: list[Path]) -> InputError:
    near = {p.name for f in folders if f.parent.is_dir() for p in f.parent.iterdir() if p.is_dir()}
    hint = did_you_mean(folders[0].name, [n for n in near if n.isidentifier()])
    searched = "\n".join(dict.fromkeys(map(str, folders)))
    message = f"package {name!r} has no folder"
    return document.error(message, (*ROOT, "package"), hint, searched=searched)
