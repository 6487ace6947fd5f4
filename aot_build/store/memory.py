"""A store in memory: for verification, for tests, and to keep the contract honest."""

from collections.abc import Sequence
from pathlib import Path

from aot_build.core.result import ActionResult
from aot_build.core.trace import Trace
from aot_build.digest import key_digest
from aot_build.files import write_atomic


class MemoryStore:
    """Records every probe in `asked`, so that a test can tell what was looked up."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._results: dict[str, ActionResult] = {}
        self._ids: dict[str, tuple[str, ...]] = {}
        self._traces: dict[str, Trace] = {}
        self.asked: list[str] = []

    def traces(self, base_key: str) -> Sequence[str]:
        return self._ids.get(base_key, ())

    def trace(self, trace_id: str) -> Trace | None:
        return self._traces.get(trace_id)

    def result(self, key: str) -> ActionResult | None:
        self.asked.append(key)
        found = self._results.get(key)
        if found and all(a.digest in self._blobs for a in found.artifacts):
            return found
        return None

    def fetch(self, digest: str, target: Path) -> bool:
        if digest not in self._blobs:
            return False
        write_atomic(target, self._blobs[digest])
        return True

    def publish(
        self, base_key: str, trace: Trace, key: str | None, result: ActionResult, folder: Path
    ) -> None:
        for artifact in result.artifacts:
            self._blobs[artifact.digest] = (folder / artifact.name).read_bytes()
        if key is None:
            return
        trace_id = key_digest(trace)
        self._traces[trace_id] = trace
        known = (k for k in self._ids.get(base_key, ()) if k != trace_id)
        self._ids[base_key] = (trace_id, *known)
        self._results[key] = result

    def flush(self) -> None:
        pass
