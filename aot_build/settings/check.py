"""Check tables against models, and say in the user's words what is wrong where."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import msgspec

from aot_build.errors import InputError, did_you_mean
from aot_build.settings.document import Document, KeyPath
from aot_build.settings.model import MODES, keys

WORDS = {
    "array": "list",
    "object": "table",
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "null": "nothing",
}
UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4} | {
    "ki": 1 << 10,
    "mi": 1 << 20,
    "gi": 1 << 30,
    "ti": 1 << 40,
}


def check_keys(
    table: Mapping[str, object],
    valid: Iterable[str],
    document: Document,
    path: KeyPath,
    **fields: object,
) -> None:
    """Raise InputError for the first key that is not valid."""
    valid = list(valid)
    for key in table:
        if key not in valid:
            hint = did_you_mean(key, valid)
            raise document.error(f"unknown key {key!r}", (*path, key), hint, **fields)


def check_table(
    table: Mapping[str, object], model: type[msgspec.Struct], document: Document, path: KeyPath
) -> None:
    """Raise InputError where a table has a key that the model lacks or a value of another type."""
    check_keys(table, keys(model), document, path)
    check_values(table, keys(model), document, path)
    for field in msgspec.structs.fields(model):
        if field.required and field.encode_name not in table:
            raise document.error(f"{field.encode_name!r} is missing", path)


def check_values(
    table: Mapping[str, object], types: Mapping[str, Any], document: Document, path: KeyPath
) -> None:
    """Raise InputError where a value is not of the type of its key."""
    for key, value in table.items():
        try:
            msgspec.convert(value, types[key])
        except msgspec.ValidationError as error:
            message, rest, hint = explain(error, key, words_of(types[key]))
            raise document.error(message, (*path, key, *rest), hint) from None


def words_of(kind: Any) -> tuple[str, ...]:
    """The words that a type allows, where it is a choice of words."""
    return tuple(word for word in get_args(kind) if isinstance(word, str))


def explain(
    error: msgspec.ValidationError, key: str, words: Iterable[str] = MODES
) -> tuple[str, KeyPath, str | None]:
    """A validation error as a message in TOML's words, the path below the key, and a hint.

    `words` are those that a choice of words allows.
    """
    text, _, at = str(error).partition(" - at `$")
    rest = tuple(int(n) if n else word for n, word in re.findall(r"\[(\d+)\]|\.([\w-]+)", at))
    hint = None
    if found := re.match(r"Invalid enum value '(.*)'", text):
        return f"unknown {key} {found[1]!r}", rest, did_you_mean(found[1], words)
    if found := re.match(r"Object contains unknown field `(.*)`", text):
        return f"unknown key {found[1]!r}", (*rest, found[1]), hint
    text = re.sub(r"`([\w |]+)`", lambda m: _words(m[1]), text)
    text = re.sub(r"^Expected", "expected", text).replace(", got", ", found")
    return f"{key}: {text}", rest, hint


def _words(types: str) -> str:
    return " or ".join(WORDS.get(t, t) for t in types.split(" | ") if t != "null") or "nothing"


def size(value: int | str, where: Mapping[str, object]) -> int:
    """Bytes from a number or from text such as `2GiB`, `512 MB`, `1.5g`. Raises InputError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", str(value).lower())
    if found is None or found[2] not in UNITS:
        hint = "write bytes, or a number with KiB, MiB, GiB, TiB, KB, MB, GB or TB"
        raise InputError(f"not an amount of memory: {value!r}", where, hint)
    number = float(found[1]) if "." in found[1] else int(found[1])
    amount = int(number * UNITS[found[2]])
    if amount <= 0:
        raise InputError(f"memory must be more than 0, found {value!r}", where)
    return amount
