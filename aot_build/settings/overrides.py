"""`[[tool.aot-build.overrides]]`: which of them hold, and what they change."""

import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from aot_build.core.target import Target
from aot_build.settings.check import check_table
from aot_build.settings.document import ROOT, Document, KeyPath
from aot_build.settings.model import Choices, Condition, Override, keys

PER_TARGET = ("timeout", "retries", "memory")


@dataclass(frozen=True)
class Layer:
    """A table of kernel keys, and where it was written."""

    table: Mapping[str, Any]
    path: KeyPath


@dataclass(frozen=True)
class Rule:
    """An override; `target` is a pattern, None for all targets."""

    table: Mapping[str, Any]
    path: KeyPath
    target: str | None
    here: bool
    """Whether it holds on this machine."""

    def holds_for(self, target: Target | None) -> bool:
        """Whether it changes kernels of this target; None: of all targets."""
        if target is None or self.target is None:
            return self.here and self.target is None
        return self.here and fnmatchcase(str(target), self.target)

    @property
    def fallbacks(self) -> Layer:
        """What it says of every kernel, whatever its backend."""
        found = {k: v for k, v in self.table.items() if k in PER_TARGET}
        return Layer(found if self.target is not None else {}, self.path)

    def defaults(self, backend: str) -> Layer:
        """What it says of the kernels of a backend."""
        table = self.table.get("defaults", {}).get(backend, {})
        return Layer(table, (*self.path, "defaults", backend))


def read_rules(document: Document, tables: Iterable[dict[str, Any]]) -> tuple[Rule, ...]:
    """The overrides in file order. Those that do not hold here are checked as well, to say on one
    system what would be an error on another. Raises InputError."""
    found = []
    for index, table in enumerate(tables):
        path = (*ROOT, "overrides", index)
        check_table(table, Override, document, path)
        check_table(table["if"], Condition, document, (*path, "if"))
        _check_scope(table, document, path)
        found.append(Rule(table, path, table["if"].get("target"), _holds_here(table["if"])))
    return tuple(found)


def _check_scope(table: Mapping[str, Any], document: Document, path: KeyPath) -> None:
    """Options of the whole build cannot differ between targets."""
    per_target = "target" in table["if"]
    allowed = {"if", "defaults", *(PER_TARGET if per_target else keys(Choices))}
    for key in table:
        if key not in allowed:
            hint = f"valid here: {', '.join(sorted(allowed - {'if'}))}"
            scope = "a condition on the target" if per_target else "no condition on the target"
            raise document.error(f"{key!r} has no meaning with {scope}", (*path, key), hint)
    for backend, defaults in table.get("defaults", {}).items():
        if per_target and "targets" in defaults:
            at = (*path, "defaults", backend, "targets")
            raise document.error("'targets' has no meaning with a condition on the target", at)


def _holds_here(condition: Mapping[str, str]) -> bool:
    here = {"platform": sys.platform, "machine": platform.machine()}
    return all(fnmatchcase(here[k], condition[k]) for k in here if k in condition)


def options(table: Mapping[str, Any], rules: Iterable[Rule]) -> dict[str, tuple[Any, KeyPath]]:
    """Option -> value and the key it is from, overrides applied; of two, the later wins."""
    names = [*keys(Choices), "package"]
    found = {k: (v, (*ROOT, k)) for k, v in table.items() if k in names}
    for rule in rules:
        if rule.holds_for(None):
            found |= {k: (v, (*rule.path, k)) for k, v in rule.table.items() if k in names}
    return found
