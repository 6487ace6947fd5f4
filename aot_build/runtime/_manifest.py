"""`manifest.json`, parsed as far as it is asked for.

It may hold megabytes of metadata. As builds lay it out, each variant has a line of its own, which
begins with its target and row; the lines are found by their ends, and those that nobody asks for
are never parsed. A line break is never part of a JSON string, so nothing that a variant holds is
taken for a line. What was laid out otherwise is parsed whole.
"""

from __future__ import annotations

import json

from ._artifact import ManifestError

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Source = int | dict[str, Any]
    """A variant: where its line begins, or what was parsed of it."""

VERSION = 1
_HEAD, _KERNELS, _TAIL = b'{"version":', b'\n"kernels":{\n', b"\n}}\n"
_AFTER_ROW = b'},"metadata":{'
_QUOTE, _BRACE = b'"{'
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


class Shelf:
    """The variants of one kernel; `sources` is keyed by the text up to the end of the row."""

    __slots__ = ("_content", "backend", "name", "sources")

    def __init__(
        self, name: str, backend: str, sources: dict[bytes, Source], content: bytes
    ) -> None:
        self.name = name
        self.backend = backend
        self.sources = sources
        self._content = content

    def variant(self, source: Source) -> dict[str, Any]:
        """One variant, parsed. Raises ManifestError."""
        if isinstance(source, dict):
            return source
        line = self._content[source : self._content.index(b"\n", source)]
        return dict(self._parsed(line.rstrip(b",")))

    def places(self) -> list[dict[str, Any]]:
        """Target and row of each variant, in order. Raises ManifestError."""
        return list(self._parsed(b"[" + b",".join(k + b"}}" for k in self.sources) + b"]"))

    def holds(self, source: Source, text: bytes) -> bool:
        """Whether a variant's line has this text; True where it has none."""
        if isinstance(source, dict):
            return True
        return self._content.find(text, source, self._content.index(b"\n", source)) >= 0

    def _parsed(self, text: bytes) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise damaged(self.name, error) from error


class Manifest:
    """A manifest. Raises ManifestError where it is missing, damaged, or of another version."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._content = _content(path)
        self._parsed: dict[str, Any] | None = None
        self._shelves = None
        try:
            head, self._shelves = _shelves(self._content)
            version = head["version"]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            version = self._read(path)
        if type(version) is not int or version != VERSION:
            raise ManifestError(f"{path} has version {version!r}, this module reads {VERSION}")

    def _read(self, path: str) -> object:
        try:
            parsed = json.loads(self._content)
            version, _ = parsed["version"], parsed["kernels"].items()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            text = f"{path} is damaged ({error!r}): install the package anew"
            raise ManifestError(text) from error
        self._parsed = parsed
        return version

    def parsed(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        if self._parsed is None:
            self._read(self._path)
        return self._parsed or {}

    def backends(self) -> dict[str, str]:
        """Each kernel's backend."""
        if self._shelves is not None:
            return {name: shelf.backend for name, shelf in self._shelves.items()}
        kernels = self.parsed()["kernels"]
        try:
            return {name: str(kernel.get("backend", "")) for name, kernel in kernels.items()}
        except AttributeError as error:
            raise ManifestError(f"{self._path} is damaged ({error!r})") from error

    def shelf(self, name: str) -> Shelf:
        """The variants of a kernel. Raises KeyError where there is none of that name."""
        if self._shelves is not None:
            return self._shelves[name]
        kernel = self.parsed()["kernels"][name]
        try:
            sources: dict[bytes, Source] = {}
            for variant in kernel["variants"]:
                text = _ENCODER.encode(variant["row"])
                sources.setdefault(key_of(variant["target"], text), variant)
            return Shelf(name, kernel["backend"], sources, b"")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise damaged(name, error) from error


def row_text(row: Mapping[str, object]) -> str | None:
    """A row as a manifest spells it; None where it holds what no manifest does."""
    try:
        return _ENCODER.encode(row)
    except (TypeError, ValueError, RecursionError):
        return None


def key_of(target: str, row: str) -> bytes:
    """The text that a variant's line begins with, up to the end of its row."""
    return f'{{"target":{json.dumps(target)},"row":{row[:-1]}'.encode()


def damaged(kernel: str, error: Exception) -> ManifestError:
    """The error for a kernel whose variants make no sense."""
    return ManifestError(f"the manifest is damaged at kernel {kernel!r} ({error!r})")


def _content(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as stream:
            return stream.read()
    except FileNotFoundError:
        hint = "its kernels were never built, or were left out when it was installed"
        raise ManifestError(f"no {path}: {hint}") from None
    except OSError as error:
        raise ManifestError(f"cannot read {path}: {error}") from error


def _shelves(content: bytes) -> tuple[dict[str, Any], dict[str, Shelf]]:
    """What lies before the kernels, parsed, and the kernels by their lines.

    Raises ValueError, KeyError, IndexError or TypeError for what was laid out otherwise.
    """
    at = content.index(_KERNELS)
    if not content.startswith(_HEAD) or not content.endswith(_TAIL):
        raise ValueError("laid out otherwise")
    head = json.loads(content[:at].rstrip(b",") + b"}")
    at += len(_KERNELS)
    shelves: dict[str, Shelf] = {}
    while content[at] == _QUOTE:
        end = content.index(b"\n", at)
        ((name, kernel),) = json.loads(b"{" + content[at:end] + b"]}}").items()
        sources, at = _lines(content, end + 1)
        if name in shelves:
            raise ValueError("two kernels of one name")
        shelves[name] = Shelf(name, kernel["backend"], sources, content)
    if content[at:] != _TAIL[1:]:
        raise ValueError("laid out otherwise")
    return head, shelves


def _lines(content: bytes, at: int) -> tuple[dict[bytes, Source], int]:
    """The variants of one kernel, whose first line begins at `at`, and where the next one begins.

    This is what opening thousands of variants costs: 0.5 microseconds each.
    """
    find = content.find
    sources: dict[bytes, Source] = {}
    count = 0
    while content[at] == _BRACE:
        end = find(b"\n", at)
        row_ends = find(_AFTER_ROW, at, end)
        if row_ends < 0:
            raise ValueError("laid out otherwise")
        sources[content[at:row_ends]] = at
        at = end + 1
        count += 1
    if count != len(sources) or content[at : at + 2] != b"]}":
        raise ValueError("laid out otherwise")
    return sources, content.index(b"\n", at) + 1
