"""What a driver asks the engine for: which project, which of its kernels, for which targets.

Imports little: this is all of a run in which nothing is to be done.
"""

import os
import tomllib
from typing import Any, NamedTuple

from aot_build.errors import InputError, did_you_mean

PACKAGE = "aot_kernels"
DIALECTS = ("gpu_", "fly_")
"""What names of kernels begin with, before that of their family; those for CPUs have nothing."""
TUNED = f"{PACKAGE}.tuned."
"""Rows that such a function lists come from tables."""
TARGETS = ("hip:gfx942", "hip:gfx950", "hip:gfx1250")
"""What rows of tables may be for."""


class Order(NamedTuple):
    """A request, and the tables that it is for."""

    project: str
    kernels: list[str]
    targets: list[str] | None
    folder: str
    tables: str
    """Separated as in PATH; empty: those that ship."""


def order(
    family: str, project: str | None, tables: list[str] | None, targets: list[str] | None
) -> Order:
    """What to ask for. With `tables` the kernels that tables feed, else all of the family.

    Raises InputError.
    """
    place = find_project(project)
    table = _table(place)
    declared = [kernel for kernel in _kernels(table) if _belongs(kernel, family)]
    if not declared:
        raise InputError(f"no kernels of {family} are declared", {"project": place})
    if tables is None:
        return Order(place, _names(declared), targets, f"drivers/{family}", "")
    named = list(TARGETS) if targets is None else [_known(target) for target in targets]
    paths = os.pathsep.join(map(_table_path, tables))
    fed = [kernel for kernel in declared if _is_fed(kernel)]
    if not fed:
        raise InputError(f"no kernels of {family} take rows from tables", {"project": place})
    return Order(place, _names(fed), named, f"drivers/{family}-tables", paths)


def find_project(named: str | None) -> str:
    """The one that is named, else this folder, else the checkout of this very file.

    Raises InputError where neither declares the package.
    """
    if named is not None:
        return os.path.realpath(named)
    checkout = os.path.join(os.path.dirname(__file__), *[os.pardir] * 3)
    for folder in (os.curdir, checkout):
        if _table(folder).get("package") == PACKAGE:
            return os.path.realpath(folder)
    hint = "name the project: --project DIR"
    raise InputError(f"no project that declares {PACKAGE} here", {"folder": os.getcwd()}, hint)


def _table(project: str) -> dict[str, Any]:
    """Its `[tool.aot-build]`, empty where there is none."""
    path = os.path.join(project, "pyproject.toml")
    try:
        with open(path, "rb") as stream:
            found = tomllib.load(stream).get("tool", {}).get("aot-build", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError("pyproject.toml cannot be read", {"file": path, "error": error}) from error
    return found if isinstance(found, dict) else {}


def _kernels(table: dict[str, Any]) -> list[dict[str, Any]]:
    # What is no list of tables is for the engine to complain about, were it reached.
    found = table.get("kernels", [])
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _belongs(kernel: dict[str, Any], family: str) -> bool:
    name = str(kernel.get("name"))
    for dialect in DIALECTS:
        name = name.removeprefix(dialect)
    return name == family or name.startswith(f"{family}_")


def _is_fed(kernel: dict[str, Any]) -> bool:
    rows = kernel.get("configs") or [None]
    return all(isinstance(each, str) and each.startswith(TUNED) for each in rows)


def _names(kernels: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(str(kernel["name"]) for kernel in kernels))


def _known(target: str) -> str:
    if target not in TARGETS:
        hint = did_you_mean(target, TARGETS)
        raise InputError(f"rows of tables are not for {target!r}", None, hint)
    return target


def _table_path(name: str) -> str:
    path = os.path.realpath(name)
    if not os.path.isfile(path):
        raise InputError("no such table", {"file": path})
    if os.pathsep in path:
        raise InputError(f"{os.pathsep!r} stands between tables, not in a path", {"file": path})
    return path
