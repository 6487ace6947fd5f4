"""What an examined tree ships of one kernel, by its manifest."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aot_build.core.inquiry import Inquiry
from aot_build.core.kernel import show_value
from aot_build.rows import ChangeRow

FAMILY = "runtime"
Shipped = dict[str, Any]
"""A variant of the manifest."""


class Shelf:
    """The variants for one target; `reached` are the numbers of those that somebody asked for."""

    def __init__(self, asked: Inquiry) -> None:
        self._tree, self._target = asked.around.tree, asked.target
        with open(os.path.join(self._tree, "manifest.json"), "rb") as stream:
            kernels = json.load(stream)["kernels"]
        every: list[Shipped] = kernels.get(asked.kernel, {}).get("variants", [])
        self.variants = [v for v in every if v["target"] == asked.target]
        self._others = [v for v in every if v["target"] != asked.target]
        self.reached: set[int] = set()
        self.installed: bool | None = None
        """Whether importing the package has made its kernels visible to launches; None where they
        are looked up by name."""

    def reach_row(self, row: Mapping[str, Any]) -> None:
        """The variant of this very row is asked for."""
        text = _text(row)
        self.reached.update(n for n, v in enumerate(self.variants) if _text(v["row"]) == text)

    def reach_digest(self, digest: str) -> None:
        """A file of these bytes was found."""
        for number, variant in enumerate(self.variants):
            if any(file["sha256"] == digest for file in variant["files"].values()):
                self.reached.add(number)

    def unreached(self) -> list[Shipped]:
        """What nobody asked for."""
        return [v for number, v in enumerate(self.variants) if number not in self.reached]

    def damages(self) -> Iterator[tuple[Shipped, str]]:
        """Each variant with a file that is not what was shipped, and what is wrong."""
        for variant in self.variants:
            for entry in variant["files"].values():
                problem = _problem(os.path.join(self._tree, *entry["path"].split("/")), entry)
                if problem:
                    yield variant, f"{entry['path']} {problem}"

    def nearest(self, row: Mapping[str, Any]) -> tuple[str, tuple[ChangeRow, ...]]:
        """The shipped variant whose row differs least, and in what; for this target if any is."""
        changes = {
            number: changes_of(variant["row"], row) + (not here) * [self._elsewhere(variant)]
            for here, variants in ((True, self.variants), (False, self._others))
            for number, variant in enumerate(variants, 0 if here else len(self.variants))
        }
        if not changes:
            return "", ()
        number = min(changes, key=lambda n: (n >= len(self.variants), len(changes[n])))
        return label_of([*self.variants, *self._others][number]["row"]), tuple(changes[number])

    def _elsewhere(self, variant: Shipped) -> ChangeRow:
        return change("target", variant["target"], self._target)


def changes_of(shipped: Mapping[str, Any], asked: Mapping[str, Any]) -> list[ChangeRow]:
    """The columns in which two rows differ."""
    was, now = ({name: _text(v) for name, v in row.items()} for row in (shipped, asked))
    return [
        change(name, was.get(name, ""), now.get(name, ""))
        for name in sorted(was.keys() | now.keys())
        if was.get(name) != now.get(name)
    ]


def change(component: str, shipped: str, asked: str) -> ChangeRow:
    """One component of a key that differs."""
    return ChangeRow(FAMILY, component, shipped, asked)


def label_of(row: Mapping[str, Any]) -> str:
    """A row for humans, as `core.kernel.Variant.label`."""
    shown = (f"{name}={show_value(tupled(value))}" for name, value in sorted(row.items()))
    return ", ".join(shown) or "-"


def tupled(value: Any) -> Any:
    """A value as rows hold it: what crossed a wire as a list was a tuple."""
    return tuple(map(tupled, value)) if isinstance(value, list | tuple) else value


def rows_of(values: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Rows as they were declared."""
    return tuple({name: tupled(value) for name, value in row.items()} for row in values)


def _text(value: Any) -> str:
    """JSON: to Python 1, 1.0 and True are one."""
    return json.dumps(value, sort_keys=True)


def _problem(path: str, entry: Mapping[str, Any]) -> str:
    try:
        with open(path, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if digest == entry["sha256"] else "has other bytes than were shipped"
