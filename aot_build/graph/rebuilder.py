"""Decides *whether* an action runs, and says why where the decision is made."""

from dataclasses import dataclass

from aot_build.core.action import Action
from aot_build.core.record import Record
from aot_build.core.result import ActionResult, Miss
from aot_build.core.store import Store
from aot_build.core.trace import Trace
from aot_build.graph.closure import ClosureReader
from aot_build.graph.keys import Closure, action_key, components


@dataclass(frozen=True, slots=True)
class Decision:
    """What a probe found: `result` and `trace` for a hit, `miss` for a miss; never both."""

    action: Action
    base_key: str
    result: ActionResult | None = None
    trace: Trace | None = None
    miss: Miss | None = None


class Rebuilder:
    """Probes a store. The log explains a miss; it never makes one."""

    def __init__(self, store: Store, closures: ClosureReader, *, strict: bool = False) -> None:
        """`strict` passes over results of actions that touched what they have no business with."""
        self._store = store
        self._closures = closures
        self._strict = strict
        self._flattened: dict[str, dict[str, str]] = {}

    def probe(self, action: Action, last: Record | None = None) -> Decision:
        """Look an action up: by base key its traces, by each trace's closure its result."""
        base_key = action_key(action)
        closure: Closure | None = None
        for trace_id in self._store.traces(base_key):
            trace = self._store.trace(trace_id)
            if trace is None:
                continue
            current = self._closures.closure(trace, trace_id)
            result = self._store.result(action_key(action, current))
            if result is not None and self._strict and result.trespasses:
                return Decision(action, base_key, miss=Miss(f"strict: it {result.trespasses[0]}"))
            if result is not None:
                return Decision(action, base_key, result, trace)
            closure = closure or current
        return Decision(action, base_key, miss=_why(action, closure, last))

    def _flat(self, closure: Closure) -> dict[str, str]:
        """Records of variants with one closure share one object: the log keeps it once."""
        if closure.digest not in self._flattened:
            self._flattened[closure.digest] = flatten(closure)
        return self._flattened[closure.digest]

    def record(
        self, decision: Decision, trace: Trace, last: Record | None, seconds: float
    ) -> Record:
        """What the build log keeps of a decision that was carried out."""
        closure = self._flat(self._closures.closure(trace))
        if decision.miss is None:
            built = last.built if last else ""
            return Record(components(decision.action), closure, "hit", built, seconds)
        reason = str(decision.miss)
        return Record(components(decision.action), closure, reason, reason, seconds)


def _why(action: Action, closure: Closure | None, last: Record | None) -> Miss:
    if last is None:
        return Miss("never built here" if closure is None else "an input changed")
    now = components(action)
    for name in sorted(now.keys() | last.components.keys()):
        if now.get(name) != last.components.get(name):
            return Miss(name, last.components.get(name, ""), now.get(name, ""))
    if closure is not None:
        files = flatten(closure)
        for path in sorted(files.keys() | last.closure.keys()):
            was, is_now = last.closure.get(path), files.get(path)
            if was != is_now:
                return Miss(path, _shown(was), _shown(is_now))
    return Miss("not in the cache")


def _shown(answer: str | None) -> str:
    return "absent" if answer is None else answer[:12]


SINGULAR = {"files": "file", "modules": "module", "listings": "listing", "programs": "program"}


def flatten(closure: Closure) -> dict[str, str]:
    """One level: `file {project}/a.h` -> digest, absences left out while they hold."""
    flat = {}
    for category, answers in closure.items():
        name = SINGULAR.get(category, category)
        for path, answer in answers.items():  # type: ignore[attr-defined]
            if answer is not None:
                flat[f"{name} {path}"] = "present" if answer is True else str(answer)
    return flat
