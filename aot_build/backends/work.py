"""The worker's way in: bytes of a WorkOrder to bytes of a WorkReport."""

import dataclasses
import inspect
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from aot_build.backends.fresh import perform_afresh
from aot_build.backends.protocol import Backend
from aot_build.backends.python import call_recorded, declared_env
from aot_build.backends.registry import Registry
from aot_build.backends.tracing.imprints import IMPRINTS
from aot_build.backends.tracing.listening import listen
from aot_build.core.row import code_row
from aot_build.core.work import WorkOrder, WorkReport
from aot_build.errors import AotBuildError

ENTRY = "aot_build.backends.work:perform"
ROWS_STAGE = "rows"
"""Stage of the action that lists the rows of `configs = ["module:function"]`."""
ROWS_FILE = "rows.json"
PLACE = "{generated}"
"""Stands in a listing for the folder that its function wrote sources to."""

IMPORT_WATCH = IMPRINTS
"""Where this module is preloaded, what is imported after it is watched (execute/preload.py)."""
_orders = msgspec.msgpack.Decoder(WorkOrder)


def perform(payload: bytes) -> bytes:
    """Perform one order. Errors that carry a message for the user come back as such."""
    # What is set for the action from here on is no look at the caller's environment.
    listen(None)
    order = _orders.decode(payload)
    params = tuple((name, _frozen(value)) for name, value in order.action.params)
    order = dataclasses.replace(order, action=dataclasses.replace(order.action, params=params))
    rows = order.action.stage == ROWS_STAGE
    try:
        backend = None if rows else Registry().get(order.action.backend)
        if clash := _clash(order, backend):
            print(f"in a fresh interpreter, not the one that is preloaded: {clash}", flush=True)
            return perform_afresh(payload)
        report = _list_rows(order) if backend is None else backend.perform(order)
    except AotBuildError as error:
        report = WorkReport(error=str(error))
    except ModuleNotFoundError as error:
        traceback.print_exc()
        report = WorkReport(error=_missing(error))
    return msgspec.msgpack.encode(report)


def _clash(order: WorkOrder, backend: Backend | None) -> str:
    """Why this worker, with the packages that it found imported, is none for the action."""
    if order.action.command:
        # It calls a compiler, which has imported nothing.
        return ""
    changes = {**dict.fromkeys(getattr(backend, "unset_env", ())), **declared_env(order)}
    return IMPRINTS.clash(changes, order.import_roots)


def _missing(error: ModuleNotFoundError) -> str:
    """In isolated builds it is most often this: what is installed is not what they see."""
    package = (error.name or "").partition(".")[0]
    hint = (
        f"\nhint: a build in isolation finds what [build-system] requires names: add {package}"
        " there, or build where it is installed, with --no-build-isolation"
    )
    return f"ModuleNotFoundError: {error}{hint if package else ''}"


def _frozen(value: Any) -> Any:
    """Values as rows hold them: what crossed the wire as a list was a tuple."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _list_rows(order: WorkOrder) -> WorkReport:
    """Call `function(targets)`, or `function(targets, out_dir)` where it takes that.

    An exception that is yielded, not raised, is a row that is broken: it fails alone. Warnings are
    what the function has to say of the rest.
    """
    params = dict(order.action.params)
    source, targets = str(params["source"]), list(params["targets"])
    generated = Path(order.out_dir) / "generated"
    told: list[str] = []

    def call(function: Callable[..., Any]) -> list[Any]:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", UserWarning)
            if "out_dir" not in inspect.signature(function).parameters:
                found = list(function(targets))
            else:
                generated.mkdir()
                found = list(function(targets, out_dir=str(generated)))
        told.extend(str(w.message) for w in warned if issubclass(w.category, UserWarning))
        return found

    report, found = call_recorded(source, order, call)
    # Checked while the values are what the function yielded: JSON would make null of a NaN.
    listing = {**listed_rows(found, source), "told": told}
    plain = with_text(listing, str(generated), PLACE)
    Path(order.out_dir, ROWS_FILE).write_bytes(msgspec.json.encode(plain, order="sorted"))
    return report


def listed_rows(found: Iterable[object], source: str) -> dict[str, list[Any]]:
    """What the function `source` has yielded: `rows`, each with its number, and of each that is
    `broken`, where and why. An exception among them is a row that is broken, and fails alone.

    Raises InputError for what is no row.
    """
    rows: list[Any] = []
    broken: list[Any] = []
    for number, each in enumerate(found, 1):
        where = f"{source} row {number}"
        if isinstance(each, Exception):
            broken.append([where, str(each) or type(each).__name__])
        else:
            row = code_row(each, where)
            rows.append([number, {**row.values, **row.extends}])
    return {"rows": rows, "broken": broken}


def with_text(value: Any, old: str, new: str) -> Any:
    """A JSON value with a text replaced in all its strings."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, list | tuple):
        return [with_text(each, old, new) for each in value]
    if isinstance(value, dict):
        return {name: with_text(each, old, new) for name, each in value.items()}
    return value
