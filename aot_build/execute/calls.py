"""A call of the user's function, on its way to a worker and back."""

import importlib.machinery
import importlib.util
import inspect
import operator
import os
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import msgspec

from aot_build.errors import InputError
from aot_build.execute.worker import resolve

ENTRY = f"{__name__}:perform"
_MAIN = "__aot_main__"
"""The caller's script goes by this name in a worker, so that its `__main__` part does not run."""
_loading = False
"""Whether this worker is importing the caller's script."""


class Target(msgspec.Struct, array_like=True, frozen=True):
    """Where a worker finds the function: by module, else in the Python file `source`."""

    module: str
    name: str
    source: str


class _Call(msgspec.Struct, array_like=True, frozen=True):
    target: Target
    positional: list[Any]
    named: dict[str, Any]


_encoder = msgspec.msgpack.Encoder()
_calls = msgspec.msgpack.Decoder(_Call)
_values = msgspec.msgpack.Decoder()


def perform(payload: bytes) -> bytes:
    """The workers' way in: one call to its result."""
    call = _calls.decode(payload)
    function = _find(call.target)
    return _encoder.encode(function(*call.positional, **call.named))


def _find(target: Target) -> Callable[..., Any]:
    if target.module != "__main__":
        try:
            return resolve(f"{target.module}:{target.name}")
        except ModuleNotFoundError as error:
            # A test runner, for one, loads files under names that nobody else can import.
            named = f"{target.module}.".startswith(f"{error.name}.")
            if not target.source or not named:
                raise
    found: Callable[..., Any] = operator.attrgetter(target.name)(_load(target.source))
    return found


def encode(job: Any, target: Target) -> bytes:
    """A job as a payload. Raises whatever its arguments cannot be encoded for."""
    if isinstance(job, Mapping):
        return _encoder.encode(_Call(target, [], dict(job)))
    positional = list(job) if isinstance(job, (list, tuple)) else [job]
    return _encoder.encode(_Call(target, positional, {}))


def decode(payload: bytes) -> Any:
    """What `perform` returned, as values. Raises msgspec.MsgspecError or TypeError."""
    return _values.decode(payload)


def locate(worker: Callable[..., Any] | str) -> Target:
    """Where workers will find it. Raises InputError."""
    if isinstance(worker, str):
        module, _, name = worker.partition(":")
        if not module or not name:
            raise _not_importable(worker, 'write "package.module:function"')
        return Target(module, name, "")
    module, name = getattr(worker, "__module__", ""), getattr(worker, "__qualname__", "")
    if not module or not name or "<" in name or inspect.ismethod(worker):
        raise _not_importable(worker, "define it with `def` at the top level of a module")
    loaded = sys.modules.get(module)
    source = getattr(loaded, "__file__", None) or ""
    spec = getattr(loaded, "__spec__", None)
    if module == "__main__" and spec is not None:
        # Started with -m: it has a name that others can import it by.
        module = spec.name
    if module == "__main__" and not os.path.isfile(source):
        raise _not_importable(worker, "put it into a file: what was typed in has no source")
    return Target(module, name, os.path.abspath(source) if os.path.isfile(source) else "")


def _not_importable(worker: object, hint: str) -> InputError:
    return InputError("the worker cannot be imported by name", {"worker": repr(worker)}, hint)


def _load(source: str) -> ModuleType:
    """Import the caller's script under another name, whatever its suffix."""
    global _loading
    loader = importlib.machinery.SourceFileLoader(_MAIN, source)
    spec = importlib.util.spec_from_file_location(_MAIN, source, loader=loader)
    assert spec is not None
    module = sys.modules[_MAIN] = importlib.util.module_from_spec(spec)
    _loading = True
    try:
        loader.exec_module(module)
    finally:
        _loading = False
    return module


def refuse_recursion() -> None:
    """Raise InputError in a worker that is only importing the caller's script."""
    if _loading:
        raise InputError(
            "run_jobs_parallel is called while a worker imports the script",
            {"script": sys.modules[_MAIN].__file__},
            "call it under `if __name__ == '__main__':`",
        )
