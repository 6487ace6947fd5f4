"""The values of one kernel table, checked one by one, as a kernel spec."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from aot_build.core.kernel import KernelSpec, Value
from aot_build.core.row import is_code
from aot_build.errors import InputError, did_you_mean
from aot_build.layout import MANIFEST, RUNTIME
from aot_build.settings.check import size
from aot_build.settings.document import ROOT, Document, KeyPath, show_path

T = TypeVar("T")
PLACEHOLDERS = ("project", "out_dir", "target")
TAKEN = (MANIFEST, *RUNTIME, "__pycache__")
"""What lies beside the kernels' folders in a result, on file systems of any case."""


@dataclass(frozen=True)
class Limits:
    """What was said for this build and therefore replaces the kernels' own; None was not said."""

    timeout: float | None = None
    retries: int | None = None
    memory: int | None = None


def check_name(
    document: Document, name: str, before: Sequence[Mapping[str, Any]], path: KeyPath
) -> None:
    """Raise InputError where a name is malformed, taken, or was given to an earlier kernel."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}", name):
        hint = "begin with a letter or _, go on with letters, digits, _, . and -"
        raise document.error(f"not a kernel name: {name!r}", (*path, "name"), hint)
    if name.lower() in TAKEN:
        message = f"a kernel cannot be named {name!r}"
        hint = f"its folder would lie beside {', '.join(TAKEN)}: rename it"
        raise document.error(message, (*path, "name"), hint)
    for index, table in enumerate(before):
        if table["name"] == name:
            first = (*ROOT, "kernels", index, "name")
            message = f"two kernels are named {name!r}"
            also = f"{document.where(first)} {show_path(first)}"
            raise document.error(message, (*path, "name"), "rename one of them", first=also)


def kernel_spec(
    document: Document,
    path: KeyPath,
    table: Mapping[str, Any],
    options: msgspec.Struct,
    limits: Limits,
) -> KernelSpec:
    """A spec without targets, of a merged table whose types are known to be right."""
    source = table.get("source", [])
    source = (source,) if isinstance(source, str) else tuple(source)
    # Rows from code may bring all the sources that there are.
    listed = any(map(is_code, table.get("configs", ())))
    if not all(source) or not (source or listed):
        hint = "a file, a list of files, or package.module:attribute"
        raise document.error(f"kernel {table['name']!r} has no source", path, hint)
    memory = table.get("memory")
    return KernelSpec(
        name=table["name"],
        backend=table["backend"],
        source=source,
        targets=(),
        configs=tuple(map(_config, table.get("configs", ()))),
        include_dirs=tuple(table.get("include-dirs", ())),
        flags=tuple(table.get("flags", ())),
        link_flags=tuple(table.get("link-flags", ())),
        env=tuple(sorted(table.get("env", {}).items())),
        timeout=_first(limits.timeout, table.get("timeout")),
        retries=_first(limits.retries, table.get("retries")),
        memory=_first(limits.memory, None if memory is None else size(memory, {})),
        required=table.get("required", True),
        options=_options(options),
    )


def _first(said: T | None, own: T | None) -> T | None:
    return own if said is None else said


def _config(entry: object) -> object:
    """An inline row as pairs in their order, as a spec must be hashable; others as they are."""
    if isinstance(entry, dict):
        return tuple((name, freeze(value)) for name, value in entry.items())
    return entry


def check_details(document: Document, path: KeyPath, table: Mapping[str, Any]) -> None:
    """Raise InputError for what types do not say of a kernel's keys, or of defaults."""
    if "memory" in table:
        at = (*path, "memory")
        size(table["memory"], {"file": document.where(at), "key": show_path(at)})
    _check_env(document, path, table.get("env", {}))
    for index, entry in enumerate(table.get("configs", ())):
        for name, value in entry.items() if isinstance(entry, dict) else ():
            if not _plain(value):
                at = (*path, "configs", index, name)
                hint = "integers, finite floats, booleans, strings and lists of them"
                raise document.error(f"not a value of a row: {value!r}", at, hint)


def _plain(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_plain, value))
    return isinstance(value, (bool, int, str)) or (
        isinstance(value, float) and math.isfinite(value)
    )


def _check_env(document: Document, path: KeyPath, env: Mapping[str, str]) -> None:
    for name, value in env.items():
        at = (*path, "env", name)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise document.error(f"not the name of a variable: {name!r}", at)
        for word in re.findall(r"\{([A-Za-z_]\w*)\}", value):
            if word not in PLACEHOLDERS:
                hint = did_you_mean(word, PLACEHOLDERS)
                raise document.error(f"unknown placeholder {{{word}}}", at, hint)


def _options(options: msgspec.Struct) -> tuple[tuple[str, Value], ...]:
    """All keys of the backend: a default that is spelled out changes nothing."""
    found: dict[str, Any] = msgspec.to_builtins(options)
    return tuple((name, freeze(found[name])) for name in sorted(found))


def freeze(value: Any) -> Value:
    """Lists as tuples; tables as tuples of pairs sorted by key: `dict()` of one gives it back."""
    if isinstance(value, dict):
        return tuple((str(k), freeze(value[k])) for k in sorted(value))
    if isinstance(value, (list, tuple)):
        return tuple(map(freeze, value))
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise InputError(f"not a value of an option: {value!r}")
