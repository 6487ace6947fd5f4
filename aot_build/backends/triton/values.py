"""Constants of kernels as data: what JSON holds stands for itself, the rest for a tagged pair.

{"dtype": "fp16"}                            triton.language.dtype
{"constexpr": value}                         triton.language.constexpr
{"tuple": [value, ...]}                      tuple
{"float": "nan"}                             a float that JSON cannot hold
{"jit": "package.module:function"}           a JIT function, found in the program by its name
{"triton": ["triton.language.math", "exp"]}  an attribute of Triton itself
{"module": "triton.language"}                a module of Triton or of the standard library
"""

import importlib
import json
import math
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

STANDARD = ("math", "builtins", "copy")
"""Modules besides Triton's own that kernels may name."""


class NotData(Exception):
    """A value that only the code that made it can make again."""


def encode(value: Any) -> Any:
    """The value as data. Raises NotData."""
    from triton.language.core import constexpr, dtype
    from triton.runtime.jit import JITFunction

    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, constexpr):
        return {"constexpr": encode(value.value)}
    if isinstance(value, dtype):
        return {"dtype": str(value)}
    if type(value) is tuple:
        return {"tuple": [encode(each) for each in value]}
    if type(value) is list:
        return [encode(each) for each in value]
    if type(value) is JITFunction and not is_tritons(value.__module__):
        return {"jit": function_name(value)}
    return _of_triton(value)


def _of_triton(value: Any) -> Any:
    if isinstance(value, ModuleType):
        if is_tritons(value.__name__) or value.__name__ in STANDARD:
            return {"module": value.__name__}
        raise NotData(f"module {value.__name__}")
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if isinstance(module, str) and isinstance(name, str) and is_tritons(module):
        try:
            if attribute(importlib.import_module(module), name) is value:
                return {"triton": [module, name]}
        except (ImportError, AttributeError):
            pass
    raise NotData(f"{type(value).__module__}.{type(value).__qualname__}")


def decode(found: Any, jit: Mapping[str, Any]) -> Any:
    """The value of data; `jit` holds the program's functions by name."""
    if isinstance(found, list):
        return [decode(each, jit) for each in found]
    if not isinstance(found, dict):
        return found
    ((tag, content),) = found.items()
    return _DECODERS[tag](content, jit)


def _dtype(content: str, jit: Mapping[str, Any]) -> Any:
    import triton.language as tl

    return tl.dtype(content)


def _constexpr(content: Any, jit: Mapping[str, Any]) -> Any:
    import triton.language as tl

    return tl.constexpr(decode(content, jit))


_DECODERS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "dtype": _dtype,
    "constexpr": _constexpr,
    "tuple": lambda content, jit: tuple(decode(each, jit) for each in content),
    "float": lambda content, jit: float(content),
    "jit": lambda content, jit: jit[content],
    "triton": lambda content, jit: attribute(importlib.import_module(content[0]), content[1]),
    "module": lambda content, jit: importlib.import_module(content),
}


def as_text(found: Any) -> str:
    """Canonical JSON."""
    return json.dumps(found, sort_keys=True, separators=(",", ":"), allow_nan=False)


def shown(found: Any) -> Any:
    """Data as a row holds it: a scalar, or a tuple of them."""
    if isinstance(found, list):
        return tuple(map(shown, found))
    if not isinstance(found, dict):
        return found
    ((tag, content),) = found.items()
    if tag == "dtype":
        return f"tl.{content}"
    if tag == "triton":
        return ":".join(content)
    return shown(content)


def function_name(function: Any) -> str:
    """`module:qualname`, as Triton's own registry has it."""
    return f"{function.__module__}:{function.fn.__qualname__}"


def is_tritons(module: str) -> bool:
    """Whether a module belongs to Triton, whose content is the toolchain's."""
    return module == "triton" or module.startswith("triton.")


def attribute(holder: Any, path: str) -> Any:
    """The object at `a.b.c` of another. Raises AttributeError."""
    for part in path.split("."):
        holder = getattr(holder, part)
    return holder
