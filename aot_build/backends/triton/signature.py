"""Declared signatures and rows -> a launch: types, constants and assumptions by parameter.

Types are written as for `triton.tools.compile`: `*bf16:16` (a pointer whose address 16 divides),
`i32:16`, `i32:1` (the constant 1), `none` (the constant None), or a number (that constant).
`*bf16:16/2GiB` is a tensor that spans less than 2 GiB as well, which AMD's back end makes use of
and an ordinary launch finds out by itself; it means nothing to CUDA.
A launch as data has the shape of Triton's own specialisation data:

    {"function": "demo.kern:matmul", "signature": [["a", "*fp16"], ["BM", "constexpr"]],
     "constants": [[[1], 128]], "attrs": [[[0], [["tt.divisibility", 16]]]], "options": {...},
     "constexprs": ["BM"]}
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aot_build.core.kernel import Value, Variant
from aot_build.errors import InputError, did_you_mean

DIVISIBLE = ["tt.divisibility", 16]
SMALL = ["tt.pointer_range", 32]
SPAN = "/2GiB"
DTYPES = (
    "i1", "i8", "i16", "i32", "i64", "u1", "u8", "u16", "u32", "u64",
    "fp8e4b15", "fp8e4b8", "fp8e4nv", "fp8e5", "fp8e5b16", "fp16", "bf16", "fp32", "fp64",
)  # fmt: skip
ALIASES = {
    "bool": "i1", "int1": "i1", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
    "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64",
    "float8e4b15": "fp8e4b15", "float8e4b8": "fp8e4b8", "float8e4nv": "fp8e4nv",
    "float8e5": "fp8e5", "float8e5b16": "fp8e5b16", "float8_e4m3fn": "fp8e4nv",
    "float8_e5m2": "fp8e5", "float16": "fp16", "bfloat16": "bf16", "float32": "fp32",
    "float64": "fp64", "f32": "fp32",
}  # fmt: skip
_TEMPLATE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a JIT function, as its module says."""

    name: str
    constexpr: bool = False
    annotation: str = ""
    """The type that it is annotated with, or empty."""
    has_default: bool = False
    default: Any = None
    """As data (values.py)."""


@dataclass(frozen=True, slots=True)
class Function:
    """A JIT function; `options` are the names of the compile options that the target has."""

    name: str
    parameters: tuple[Parameter, ...]
    options: tuple[str, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Options that the decorator fixes."""


def launch_of(
    variant: Variant, function: Function, signature: Mapping[str, Value], fusion: bool
) -> dict[str, Any]:
    """The launch that a row declares. Raises InputError, naming the row."""
    row = dict(variant.row)
    reader = _Reader(variant, function, row)
    reader.check_names(signature)
    types: list[list[str]] = []
    constants: list[list[Any]] = []
    attrs: list[list[Any]] = []
    for index, parameter in enumerate(function.parameters):
        kind, constant, assumed = reader.read(parameter, signature.get(parameter.name))
        types.append([parameter.name, kind])
        if kind == "constexpr":
            constants.append([[index], constant])
        if assumed:
            attrs.append([[index], assumed])
    options = {n: _plain(v) for n, v in row.items() if n in function.options}
    chosen = {"enable_fp_fusion": fusion, **function.defaults, **options}
    return {
        "function": function.name,
        "signature": types,
        "constants": constants,
        "attrs": attrs,
        "options": chosen,
        "constexprs": [p.name for p in function.parameters if p.constexpr],
    }


class _Reader:
    """Reads the types and constants of one row."""

    def __init__(self, variant: Variant, function: Function, row: Mapping[str, Value]) -> None:
        self._variant, self._function, self._row = variant, function, row
        self._filled: set[str] = set()

    def check_names(self, signature: Mapping[str, Value]) -> None:
        """Every declared name is a parameter, every column of the row is used."""
        names = [p.name for p in self._function.parameters]
        for name in signature:
            if name not in names:
                raise self._error(f"signature names {name!r}, which is no parameter", name, names)
        templates = {c for text in signature.values() for c in _TEMPLATE.findall(str(text))}
        for name in self._row:
            if name not in names and name not in self._function.options and name not in templates:
                raise self._error(
                    f"column {name!r} is neither a parameter nor a compile option",
                    name,
                    [*names, *self._function.options],
                )

    def read(self, parameter: Parameter, declared: Value) -> tuple[str, Any, list[Any]]:
        """Type, which for a constant is "constexpr"; the constant, as data; what is assumed."""
        name = parameter.name
        if parameter.constexpr:
            value = self._row.get(name, declared)
            if name not in self._row and isinstance(declared, str) and declared != "constexpr":
                value = _number(self._fill(declared, name), self._fill(declared, name))
            if name in self._row or declared not in (None, "constexpr"):
                return "constexpr", _constant(value), []
        elif name in self._row or declared is not None:
            value = self._row.get(name, declared)
            return self._typed(name, value, written="row" if name in self._row else "signature")
        elif parameter.annotation and not parameter.has_default:
            return self._typed(name, parameter.annotation, written="annotation")
        if parameter.has_default:
            return "constexpr", parameter.default, []
        where = "a column" if parameter.constexpr else "a type in `signature`"
        raise InputError(
            f"parameter {name!r} of {self._function.name} has no value",
            self._fields(),
            f"give it {where}, or a default",
        )

    def _typed(self, name: str, value: Value, written: str) -> tuple[str, Any, list[Any]]:
        if value is None:
            return "constexpr", None, []
        if isinstance(value, bool | int | float):
            return "constexpr", value, []
        if not isinstance(value, str):
            raise self._error(f"{written} gives {name!r} no type: {value!r}", "", ())
        text = self._fill(value, name)
        small = text.startswith("*") and text.endswith(SPAN)
        kind, _, hint = (text.removesuffix(SPAN) if small else text).partition(":")
        if kind.lower() == "none" and not hint:
            return "constexpr", None, []
        number = _number(kind, None)
        if number is not None and not hint:
            return "constexpr", number, []
        kind = self._kind(kind.strip(), text, name)
        if hint not in ("", "1", "16"):
            raise InputError(
                f"{text!r} is no type of parameter {name!r}: {hint!r} is no hint",
                self._fields(),
                "valid: 16 (divisible by 16), 1 (the constant 1)",
            )
        if hint == "1":
            if kind.startswith("*"):
                raise InputError(f"a pointer is never 1: {name!r} is {text!r}", self._fields())
            return "constexpr", 1, []
        assumed = [DIVISIBLE] if hint == "16" else []
        if small and self._variant.target.kind == "hip":
            assumed.append(SMALL)
        return kind, None, assumed

    def _kind(self, kind: str, text: str, name: str) -> str:
        """A type by Triton's own name."""
        stars = len(kind) - len(kind.lstrip("*"))
        prefix, base = kind[:stars], kind[stars:]
        if stars and base.startswith("k") and _dtype(base[1:]):
            prefix, base = prefix + "k", base[1:]
        found = _dtype(base)
        if found:
            return prefix + found
        if not stars and (base.startswith("tensordesc<") or base == "nvTmaDesc"):
            return base
        raise InputError(
            f"{text!r} is no type of parameter {name!r}",
            self._fields(),
            did_you_mean(base.removeprefix("tl."), DTYPES),
        )

    def _fill(self, text: str, name: str) -> str:
        def value(match: re.Match[str]) -> str:
            column = match[1]
            if column not in self._row:
                raise self._error(
                    f"the type of {name!r} takes column {column!r}, which the row has not",
                    column,
                    list(self._row),
                )
            return str(self._row[column])

        return _TEMPLATE.sub(value, text)

    def _fields(self) -> dict[str, object]:
        return {"kernel": self._variant.kernel.name, "where": self._variant.where or None}

    def _error(self, message: str, word: str, words: Any) -> InputError:
        return InputError(message, self._fields(), did_you_mean(word, words) if words else None)


def _dtype(text: str) -> str:
    """Triton's name of a dtype; empty where there is none such."""
    text = text.removeprefix("tl.")
    return text if text in DTYPES else ALIASES.get(text, "")


def _number(text: str, otherwise: Any) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return otherwise


def _constant(value: Value) -> Any:
    """A row's value as data: `tl.float16` is a dtype, other text is text."""
    if isinstance(value, str) and value.startswith("tl.") and _dtype(value):
        return {"dtype": _dtype(value)}
    if isinstance(value, tuple):
        return {"tuple": [_constant(each) for each in value]}
    return value


def _plain(value: Value) -> Any:
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
