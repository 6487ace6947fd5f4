"""The options of a model as a reader wants them: key, type, default, meaning."""

import ast
import inspect
import itertools
import textwrap
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from aot_build.settings.model import Condition, Kernel, Override, Project
from aot_build.settings.sources import PREFIX, TYPES, VARIABLES

NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", Any: "any"}
INTRODUCTION = """\
# Options

Generated from `aot_build/settings/model.py` and the backends' own models by
`python -m aot_build.twins --write`.

An option is taken from the first place that has it: the command line, the environment,
`-C aot.<key>=<value>`, pyproject.toml with its overrides, the default. An unknown key, backend,
target or mode is an error.
"""
SECTIONS: tuple[tuple[str, type[msgspec.Struct]], ...] = (
    ("`[tool.aot-build]`", Project),
    ("`[[tool.aot-build.kernels]]`", Kernel),
    ("`[[tool.aot-build.overrides]]`", Override),
    ("`if` of an override", Condition),
)


@dataclass(frozen=True)
class Option:
    """One key; `default` is TOML, empty where there is none."""

    key: str
    type: str
    default: str
    required: bool
    text: str


def options(model: type[msgspec.Struct]) -> list[Option]:
    """The keys of a model, inherited ones first."""
    texts = docstrings(model)
    fields = msgspec.structs.fields(model)
    return [
        Option(f.encode_name, type_text(f.type), _default(f), f.required, texts[f.name])
        for f in fields
    ]


def docstrings(model: type) -> dict[str, str]:
    """Field -> the string below it in the source, as one line. Python keeps no such strings."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base is not msgspec.Struct and issubclass(base, msgspec.Struct):
            tree = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
            found |= dict(_strings(tree.body if isinstance(tree, ast.ClassDef) else []))
    return found


def _strings(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, text in itertools.pairwise(body):
        if not isinstance(field, ast.AnnAssign):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            yield ast.unparse(field.target), " ".join(str(text.value.value).split())


def type_text(kind: Any) -> str:
    """A type in TOML's words."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return type_text(args[0])
    if origin in (Union, types.UnionType):
        return " or ".join(type_text(a) for a in args if a is not type(None))
    if origin is Literal:
        return " or ".join(f'"{a}"' for a in args)
    if origin in (list, tuple):
        return f"list of {type_text(args[0])}" if args[0] is not Any else "list"
    if origin is dict or (inspect.isclass(kind) and issubclass(kind, msgspec.Struct)):
        return "table"
    return NAMES[kind]


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    if value is None or value is msgspec.NODEFAULT:
        return ""
    return msgspec.json.encode(value).decode()


def markdown(backends: Mapping[str, type[msgspec.Struct]]) -> str:
    """The text of `docs/options.md`; `backends` gives the own keys of each backend's kernels."""
    parts = [INTRODUCTION]
    own = [(f'`backend = "{name}"` adds', model) for name, model in sorted(backends.items())]
    for title, model in (*SECTIONS, *own):
        parts.append(f"## {title}\n\n{(model.__doc__ or '').strip()}\n")
        parts += [_entry(option, model) for option in options(model)]
    return "\n".join(parts)


def _entry(option: Option, model: type[msgspec.Struct]) -> str:
    marks = [option.type]
    if option.required:
        marks.append("required")
    if option.default and model is not Override:
        marks.append(f"default `{option.default}`")
    if model is Project and option.key in TYPES:
        marks += [f"`{name}`" for name in VARIABLES.get(option.key, ())]
        marks.append(f"`-C {PREFIX}{option.key}=...`")
    return f"### `{option.key}`\n\n{'; '.join(marks)}\n\n{option.text}\n"
