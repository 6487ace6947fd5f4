"""Stores stacked: asked in order; what is published goes to the first."""

from collections.abc import Sequence
from pathlib import Path

from aot_build.core.result import ActionResult
from aot_build.core.store import Store
from aot_build.core.trace import Trace


class Tiered:
    """`first` takes what is published; the `rest` are only read."""

    def __init__(self, first: Store, *rest: Store) -> None:
        self._first = first
        self._all = (first, *rest)

    def traces(self, base_key: str) -> Sequence[str]:
        ids = [trace_id for store in self._all for trace_id in store.traces(base_key)]
        return tuple(dict.fromkeys(ids))

    def trace(self, trace_id: str) -> Trace | None:
        found = (store.trace(trace_id) for store in self._all)
        return next((trace for trace in found if trace is not None), None)

    def result(self, key: str) -> ActionResult | None:
        found = (store.result(key) for store in self._all)
        return next((result for result in found if result is not None), None)

    def fetch(self, digest: str, target: Path) -> bool:
        return any(store.fetch(digest, target) for store in self._all)

    def publish(
        self, base_key: str, trace: Trace, key: str | None, result: ActionResult, folder: Path
    ) -> None:
        self._first.publish(base_key, trace, key, result, folder)

    def flush(self) -> None:
        self._first.flush()
