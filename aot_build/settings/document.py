"""pyproject.toml with what an error about it must say: the file, the line and the key path."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aot_build.errors import InputError

KeyPath = tuple[str | int, ...]
ROOT: KeyPath = ("tool", "aot-build")


def show_path(path: KeyPath) -> str:
    """`("tool", "aot-build", "kernels", 1, "source")` as `tool.aot-build.kernels[1].source`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


@dataclass(frozen=True)
class Document:
    """A parsed pyproject.toml and its text."""

    file: Path
    text: str
    values: dict[str, Any]

    @property
    def table(self) -> dict[str, Any] | None:
        """The table `[tool.aot-build]`, or None where there is none. Raises InputError."""
        tool = self.values.get("tool", {})
        table = tool.get("aot-build") if isinstance(tool, dict) else None
        if table is not None and not isinstance(table, dict):
            raise self.error(f"expected a table, found {table!r}", ROOT)
        return table

    def where(self, path: KeyPath) -> str:
        """`pyproject.toml:12`, without the line where it is not plain to see."""
        line = find_line(self.text, path)
        return f"{self.file.name}:{line}" if line else self.file.name

    def error(
        self, message: str, path: KeyPath, hint: str | None = None, **fields: object
    ) -> InputError:
        """An error about one key."""
        place = {"file": self.where(path), "key": show_path(path)}
        return InputError(message, {**place, **fields}, hint)


def read_document(file: Path) -> Document | None:
    """Read pyproject.toml; None where there is no such file. Raises InputError."""
    try:
        text = file.read_bytes().decode("utf-8")
        return Document(file, text, tomllib.loads(text))
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise InputError(f"{file.name} is not UTF-8", {"file": file, "byte": error.start}) from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file.name} is not valid TOML", {"file": file, "error": error}) from None
    except OSError as error:
        raise InputError(f"cannot read {file.name}", {"file": file, "error": error}) from None


def find_line(text: str, path: KeyPath) -> int | None:
    """The line, from 1, of a key or of the nearest table that holds it; None where not found.

    A scan of the text, as the standard parser keeps no positions: it knows `[a.b]` headers,
    `[[a.b]]` headers by their count and keys at the start of a line, and nothing of the rest.
    """
    lines = text.splitlines()
    for depth in range(len(path), 1, -1):
        start = _header(lines, path[:depth])
        if start is not None:
            return _key(lines, start, path[depth:]) or start + 1
    return None


def _header(lines: list[str], path: KeyPath) -> int | None:
    """Index of the line that opens a table."""
    last, count = path[-1], 0
    if isinstance(last, int):
        path, count = path[:-1], last
    dotted = r"\s*\.\s*".join(rf"[\"']?{re.escape(str(p))}[\"']?" for p in path)
    pattern = re.compile(rf"\s*\[\s*(\[\s*)?{dotted}\s*\]")
    for index, line in enumerate(lines):
        if pattern.match(line):
            if count == 0:
                return index
            count -= 1
    return None


def _key(lines: list[str], start: int, rest: KeyPath) -> int | None:
    """Number of the line of a key within the table that opens at `start`."""
    if not rest:
        return None
    pattern = re.compile(rf"\s*[\"']?{re.escape(str(rest[0]))}[\"']?\s*(=|\.)")
    for index in range(start + 1, len(lines)):
        if pattern.match(lines[index]):
            return index + 1
        if re.match(r"\s*\[\[?[\w\s.\"'-]+\]\]?\s*(#.*)?$", lines[index]):
            return None
    return None
