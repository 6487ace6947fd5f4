"""The workers' way in: where a package lies, which rows code lists, what came of one inquiry."""

import importlib
import importlib.util
import inspect
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from aot_build.backends.lookups import names, place, trial
from aot_build.backends.lookups.shelf import Shelf, label_of, rows_of
from aot_build.backends.python import find_attribute
from aot_build.backends.work import listed_rows
from aot_build.core.inquiry import Inquiry, Surroundings
from aot_build.rows import RuntimeRow, as_json

FIND, LIST_ROWS, ANSWER, TRY_OUT = (
    f"{__name__}:{name}" for name in ("find", "list_rows", "answer", "try_out")
)
WAYS = {"triton": f"{__package__}.launches", "flydsl": f"{__package__}.entries"}
"""Languages whose launches look kernels up, or compile them: the module that makes those launches.
Kernels of all others are looked up by name."""
_BAD = ("compiles", "missing", "failed")
_inquiries = msgspec.msgpack.Decoder(Inquiry)


def find(around: bytes) -> list[str]:
    """The folders of an installed package; none where it is not there."""
    given = msgspec.msgpack.decode(around, type=Surroundings)
    place.prepare(given, {})
    try:
        spec = importlib.util.find_spec(given.package)
    except ModuleNotFoundError:
        spec = None
    return list(spec.submodule_search_locations or ()) if spec is not None else []


def list_rows(inquiry: bytes, function: str, targets: list[str]) -> dict[str, Any]:
    """What `configs = ["module:function"]` yields: see `listed_rows`."""
    asked = _inquiries.decode(inquiry)
    own = place.prepare(asked.around, asked.env)
    call = find_attribute(function)
    takes = inspect.signature(call).parameters
    generated = os.path.join(own, "generated")
    os.mkdir(generated)
    more = {"out_dir": generated} if "out_dir" in takes else {}
    return listed_rows(call(targets, **more), function)


def answer(inquiry: bytes) -> str:
    """What came of an inquiry, as JSON: its `rows`, and whether what ships was `installed`."""
    received = _inquiries.decode(inquiry)
    asked = replace(received, rows=rows_of(received.rows))
    shelf = Shelf(asked)
    place.prepare(asked.around, asked.env)
    found = list(_looked_up(asked, shelf)) if asked.rows else []
    for variant in shelf.unreached():
        detail = "it ships, and nothing that is declared asks for it"
        found.append(_row(asked, variant, "undeclared", detail))
    rows = [*found, *_damaged(asked, shelf, found)]
    return as_json({"rows": rows, "installed": shelf.installed})


def try_out(inquiry: bytes) -> dict[str, tuple[str, str]]:
    """How far each shipped variant went on this machine's GPU, by its label; none of those that it
    does not run, or where no torch finds a GPU."""
    asked = _inquiries.decode(inquiry)
    shelf = Shelf(asked)
    place.prepare(asked.around, {})
    aot = place.runtime(asked.around)
    devices = place.internals(asked.around, "_devices")
    if importlib.util.find_spec("torch") is None:
        return {}
    if not importlib.import_module("torch").cuda.is_available():
        return {}
    machine = devices.gpu(0)
    if not aot.compatible([asked.target], machine):
        return {}
    rows = [v["row"] for v in shelf.variants if any(n.endswith(trial.CODE) for n in v["files"])]
    artifacts = [aot.get(asked.kernel, asked.target, **row) for row in rows_of(rows)]
    artifacts = [artifact for artifact in artifacts if devices.runs(artifact, machine)]
    told = trial.tried(artifacts, trial.TorchGpu())
    return {label_of(a.row): each for a, each in zip(artifacts, told, strict=True)}


def _looked_up(asked: Inquiry, shelf: Shelf) -> Iterator[RuntimeRow]:
    way: Any = importlib.import_module(WAYS[asked.backend]) if asked.backend in WAYS else names
    yield from way.look_up(asked, shelf)


def _damaged(asked: Inquiry, shelf: Shelf, found: Sequence[RuntimeRow]) -> Iterator[RuntimeRow]:
    """Of those that were looked up in vain it is known already."""
    known = {row.variant for row in found if row.verdict in _BAD}
    for variant, problem in shelf.damages():
        row = _row(asked, variant, "damaged", problem)
        if row.variant not in known:
            yield row


def _row(asked: Inquiry, variant: Any, verdict: str, detail: str) -> RuntimeRow:
    return RuntimeRow(asked.kernel, label_of(variant["row"]), asked.target, verdict, detail)
