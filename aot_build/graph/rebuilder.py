"""Decides *whether* an action runs, and says why where the decision is made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aot_build.core.action import Action
from aot_build.core.record import Record
from aot_build.core.result import ActionResult, Change, Miss
from aot_build.core.store import Store
from aot_build.core.trace import Trace
from aot_build.digest import key_digest
from aot_build.graph.closure import ClosureReader
from aot_build.graph.components import (
    TOOL,
    asked,
    changes_of_answers,
    changes_of_parts,
    changes_of_tools,
    components,
    flatten,
)
from aot_build.graph.keys import Closure, action_key

NEVER_BUILT = Miss("never built here", family="never-built")
OTHER_INPUTS = Miss("never built here, and in the cache for other inputs only", family="input")
EVICTED = Miss("not in the cache", family="evicted")


@dataclass(frozen=True, slots=True)
class Decision:
    """What a probe found: `result` and `trace` for a hit, `miss` for a miss; never both."""

    action: Action
    base_key: str
    result: ActionResult | None = None
    trace: Trace | None = None
    miss: Miss | None = None
    key: str = ""
    """The action key of a hit."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """How people call what keys hold as a digest alone."""

    toolchain: Callable[[str], str] = str
    """Name and version of a toolchain, by digest."""
    programs: Callable[[str], Mapping[str, str]] = lambda digest: {}
    """Its programs: paths by role, and digests."""
    version: Callable[[str], str] = lambda name: ""
    """Version of an installed distribution, empty where it has none."""


class Rebuilder:
    """Probes a store. The log explains a miss; it never makes one."""

    def __init__(
        self,
        store: Store,
        closures: ClosureReader,
        surroundings: Surroundings | None = None,
        *,
        strict: bool = False,
    ) -> None:
        """`strict` passes over results of actions that touched what they have no business with."""
        self._store = store
        self._closures = closures
        self._strict = strict
        self._around = surroundings or Surroundings()
        self._flattened: dict[tuple[str, str], dict[str, str]] = {}
        self._trace_ids: dict[int, tuple[Trace, str]] = {}
        self._compared: dict[tuple[int, int], tuple[Change, ...]] = {}

    def probe(self, action: Action, last: Record | None = None) -> Decision:
        """Look an action up: by base key its traces, by each trace's closure its result."""
        base_key = action_key(action)
        closure: Closure | None = None
        for trace_id in self._store.traces(base_key):
            trace = self._store.trace(trace_id)
            if trace is None:
                continue
            current = self._closures.closure(trace, trace_id)
            key = action_key(action, current)
            result = self._store.result(key)
            if result is not None and self._strict and result.trespasses:
                told = Miss(f"strict: it {result.trespasses[0]}", family="strict")
                return Decision(action, base_key, miss=told)
            if result is not None:
                return Decision(action, base_key, result, trace, key=key)
            closure = closure or current
        return Decision(action, base_key, miss=self._why(action, closure, last))

    # Saying why

    def _why(self, action: Action, closure: Closure | None, last: Record | None) -> Miss:
        if last is None:
            return NEVER_BUILT if closure is None else OTHER_INPUTS
        changes = changes_of_parts(last.components, self._components(action))
        if any(change.component == "toolchain" for change in changes):
            changes = self._with_tools(changes, action, last)
        changes += self._changes_of_closure(action, closure, last)
        return Miss.of(changes) if changes else EVICTED

    def _changes_of_closure(
        self, action: Action, closure: Closure | None, last: Record
    ) -> Sequence[Change]:
        """What the last build asked, as it is answered now; where its trace was not kept, as much
        of that as another trace asks as well."""
        trace = self._store.trace(last.trace) if last.trace else None
        if trace is not None:
            own = self._closures.closure(trace, last.trace)
            return self._compare(last.closure, self._flat(action, own))
        if closure is None:
            return ()
        was, now, names = last.closure, self._flat(action, closure), asked(closure)
        found = changes_of_answers({name: was[name] for name in was if name in names}, now)
        # What that build did not ask was not absent then. An absence that holds is not recorded.
        return [c for c in found if c.component in was or c.family == "absent"]

    def _compare(self, was: dict[str, str], now: dict[str, str]) -> tuple[Change, ...]:
        """Both are shared by many variants, and live as long as this."""
        pair = id(was), id(now)
        if pair not in self._compared:
            self._compared[pair] = tuple(changes_of_answers(was, now))
        return self._compared[pair]

    def _with_tools(self, changes: list[Change], action: Action, last: Record) -> list[Change]:
        """Of a compiler that has kept its version, which of its programs are others."""
        place = next(n for n, change in enumerate(changes) if change.component == "toolchain")
        was, now = changes[place].was, changes[place].now
        if was.partition(" [")[0] != now.partition(" [")[0] or " [" not in now:
            return changes
        programs = self._programs(action.toolchain)
        found = changes_of_tools(last.closure, programs)
        return [*changes[:place], *found, *changes[place:]]

    def _programs(self, digest: str) -> dict[str, str]:
        return {f"{TOOL}{p}": d for p, d in self._around.programs(digest).items()}

    def _components(self, action: Action) -> dict[str, str]:
        return components(action) | {"toolchain": self._around.toolchain(action.toolchain)}

    def _flat(self, action: Action, closure: Closure) -> dict[str, str]:
        """Records of variants with one closure share one object: the log keeps it once."""
        which = closure.digest, action.toolchain
        if which not in self._flattened:
            names = closure.get("distributions", {})
            versions = {name: self._around.version(name) for name in names}  # type: ignore[attr-defined]
            known = {name: version for name, version in versions.items() if version}
            self._flattened[which] = flatten(closure, known) | self._programs(action.toolchain)
        return self._flattened[which]

    def record(
        self,
        decision: Decision,
        trace: Trace,
        last: Record | None,
        seconds: float,
        at: float = 0.0,
    ) -> Record:
        """What the build log keeps of a decision that was carried out, at that Unix time."""
        trace_id = self._trace_id(trace)
        closure = self._flat(decision.action, self._closures.closure(trace, trace_id))
        miss = decision.miss
        if miss is None:
            told = (last.built, last.family, last.built_at) if last else ("", "", 0.0)
        else:
            told = str(miss), miss.family, at
        built, family, built_at = told
        return Record(
            components=self._components(decision.action),
            closure=closure,
            decision="hit" if miss is None else built,
            built=built,
            seconds=seconds,
            family=family,
            built_at=built_at,
            at=at,
            trace=trace_id,
            label=decision.action.label,
        )

    def _trace_id(self, trace: Trace) -> str:
        """A trace is one object for all the variants that share it."""
        found = self._trace_ids.get(id(trace))
        if found is None:
            found = self._trace_ids[id(trace)] = trace, key_digest(trace)
        return found[1]
