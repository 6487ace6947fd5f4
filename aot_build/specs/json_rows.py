"""Rows out of json, each with its line."""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, NoReturn

from aot_build.errors import InputError
from aot_build.specs.row import RawRow, expanded, malformed


def read_json(text: str, name: str) -> Iterator[RawRow]:
    """Rows of a list of objects, or of one object."""
    lines = _Lines(text, name)
    position = lines.skip(0)
    alone = not text.startswith("[", position)
    position = position if alone else lines.skip(position + 1)
    while alone or not text.startswith("]", position):
        where = f"{name}:{lines.at(position)}"
        value, end = lines.decode(position)
        if not isinstance(value, dict):
            raise InputError("a row must be an object", {"file": where, "found": repr(value)[:200]})
        yield from expanded(value, where)
        position = lines.skip(end)
        if alone:
            break
        position = lines.next_item(position)
    if (rest := lines.skip(position if alone else position + 1)) < len(text):
        raise malformed("more than one json value", name, lines.at(rest))


class _Lines:
    """A json text that is read value by value, as the parser keeps no positions."""

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=self._constant
        )
        self._start = 0
        self._breaks = [found.start() for found in re.finditer("\n", text)]

    def at(self, position: int) -> int:
        """The line, from 1, of a position."""
        return bisect_left(self._breaks, position) + 1

    def skip(self, position: int) -> int:
        found = re.compile(r"[ \t\n\r]*").match(self.text, position)
        return found.end() if found else position

    def decode(self, position: int) -> tuple[Any, int]:
        self._start = position
        try:
            return self._decoder.raw_decode(self.text, position)
        except json.JSONDecodeError as error:
            raise malformed("not valid json", self.name, error.lineno, error=error) from None
        except (RecursionError, ValueError) as error:
            raise malformed("not valid json", self.name, self.at(position), error=error) from None

    def next_item(self, position: int) -> int:
        """Past the comma, or at the bracket that ends the list."""
        if self.text.startswith("]", position):
            return position
        following = self.skip(position + 1)
        if not self.text.startswith(",", position) or self.text.startswith("]", following):
            error = "expected ',' and another object, or ']'"
            raise malformed("not valid json", self.name, self.at(position), error=error)
        return following

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [key for key, _ in pairs]
            twice = next(n for n in names if names.count(n) > 1)
            message = f"two columns are named {twice!r}"
            raise malformed(message, self.name, self.at(self._start))
        return found

    def _constant(self, word: str) -> NoReturn:
        raise malformed(f"{word} is no value of a row", self.name, self.at(self._start))
