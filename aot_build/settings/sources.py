"""Where an option may come from: one protocol, one adapter a place, one chain."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from aot_build.errors import InputError, did_you_mean
from aot_build.settings.check import explain
from aot_build.settings.document import Document, KeyPath, show_path
from aot_build.settings.model import Choices, keys

TYPES = keys(Choices) | {"package": str}
VARIABLES: dict[str, tuple[str, ...]] = {
    "cache-dir": ("AOT_BUILD_CACHE_DIR",),
    "jobs": ("AOT_BUILD_JOBS", "MAX_JOBS"),
    "targets": ("AOT_BUILD_TARGETS",),
    "mode": ("AOT_BUILD_MODE",),
    "timeout": ("AOT_BUILD_TIMEOUT",),
    "retries": ("AOT_BUILD_RETRIES",),
    "memory-per-worker": ("AOT_BUILD_MEM_PER_WORKER",),
    "keep-going": ("AOT_BUILD_KEEP_GOING",),
    "strict": ("AOT_BUILD_STRICT",),
    "tracer": ("AOT_BUILD_TRACER",),
}
"""Option -> the variables that set it, the first one that is set wins."""
PREFIX = "aot."
LAYOUT = "package-dir"
"""Known to the command line alone: it comes from the setuptools distribution."""
BOOLEANS = {"yes": True, "on": True, "no": False, "off": False}


@dataclass(frozen=True)
class Found:
    """A value of the option's type, and the fields of an error about it."""

    value: object
    where: Mapping[str, str]
    origin: str

    @property
    def outside(self) -> bool:
        """Whether it was said for this build, rather than written into the project."""
        return self.origin != "pyproject"


class Source(Protocol):
    """One place that options come from."""

    def get(self, key: str) -> Found | None:
        """The option's value here, or None. Raises InputError where it is malformed."""


def first(key: str, chain: Sequence[Source]) -> Found | None:
    """The value of the first source that has the option.

    All are asked: a malformed value is an error even where another source overrules it.
    """
    found = [f for source in chain if (f := source.get(key)) is not None]
    return found[0] if found else None


@dataclass(frozen=True)
class CommandLine:
    """Options of a command: values or text; None is an option that was not given."""

    options: Mapping[str, object]

    def __post_init__(self) -> None:
        check_known(self.options, [*TYPES, LAYOUT], "unknown option {!r} of the command line")

    def get(self, key: str) -> Found | None:
        value = self.options.get(key)
        if value is None:
            return None
        where = {"option": f"--{key}"}
        return Found(typed(key, value, where), where, "command line")


@dataclass(frozen=True)
class Environment:
    """Environment variables; an empty one counts as unset."""

    variables: Mapping[str, str]

    def get(self, key: str) -> Found | None:
        for name in VARIABLES.get(key, ()):
            if text := self.variables.get(name, "").strip():
                where = {"variable": name, "value": text}
                return Found(typed(key, text, where), where, "environment")
        return None


@dataclass(frozen=True)
class ConfigSettings:
    """`-C aot.key=value` of a build front end; keys without the prefix belong to others."""

    settings: Mapping[str, str | list[str]]

    def __post_init__(self) -> None:
        ours = [k.removeprefix(PREFIX) for k in self.settings if k.startswith(PREFIX)]
        check_known(ours, TYPES, "unknown config setting 'aot.{}'")

    def get(self, key: str) -> Found | None:
        value = self.settings.get(PREFIX + key)
        if value is None:
            return None
        where = {"config setting": f"-C {PREFIX}{key}"}
        if isinstance(value, list) and key != "targets":
            if len(value) != 1:
                raise InputError(f"{PREFIX}{key} is given {len(value)} times", where)
            value = value[0]
        return Found(typed(key, value, where), where, "config setting")


@dataclass(frozen=True)
class Pyproject:
    """`[tool.aot-build]` with its overrides applied: option -> value and the key it is from."""

    document: Document
    options: Mapping[str, tuple[object, KeyPath]]

    def get(self, key: str) -> Found | None:
        if key not in self.options:
            return None
        value, path = self.options[key]
        where = {"file": self.document.where(path), "key": show_path(path)}
        return Found(value, where, "pyproject")


def typed(key: str, value: object, where: Mapping[str, str]) -> object:
    """Text, or a value, as the type of the option. Raises InputError naming the place."""
    if key == "targets":
        value = list(_listed(value))
    elif isinstance(value, str):
        value = value.strip()
        value = BOOLEANS.get(value.lower(), value) if TYPES[key] is bool else value
    try:
        return msgspec.convert(value, TYPES[key], strict=False)
    except msgspec.ValidationError as error:
        message, _, hint = explain(error, key)
        raise InputError(message, where, hint) from None


def _listed(value: object) -> Iterator[object]:
    """The words of a comma list, or of a sequence of such."""
    for part in [value] if isinstance(value, str) else _sequence(value):
        if isinstance(part, str):
            yield from (word.strip() for word in part.split(",") if word.strip())
        else:
            yield part


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, Sequence) else [value]


def check_known(given: Iterable[str], valid: Collection[str], message: str) -> None:
    """Raise InputError for the first word that is not a valid one."""
    for word in given:
        if word not in valid:
            raise InputError(message.format(word), None, did_you_mean(word, valid))
