"""Build again without the cache, and compare bytes: is what is kept what the sources give?"""

import random
from collections.abc import Sequence

from aot_build.build import carry_out, unbuilt
from aot_build.core.result import ActionResult, Miss
from aot_build.events import VerifyRow
from aot_build.graph.rebuilder import Rebuilder
from aot_build.outcome import Outcome
from aot_build.plan import Plan, Planned, make_plan
from aot_build.store.memory import MemoryStore
from aot_build.workspace import Workspace


def verify(
    workspace: Workspace, kernels: Sequence[str] | None, sample: int | None
) -> tuple[VerifyRow, ...]:
    """Build `sample` variants again (None: all), drawn at random from those that are kept."""
    plan = make_plan(workspace, kernels)
    planned = list(plan.planned)
    kept = [p for p in planned if p.decision.result is not None]
    chosen = kept if sample is None else random.sample(kept, min(sample, len(kept)))
    rows = [_row(p, "unbuilt", "not in the cache") for p in planned if p.decision.result is None]
    rows += [VerifyRow(f.kernel, f.variant, f.target, "failed", f.reason) for f in plan.failures]
    return (*rows, *_compare(workspace, chosen))


def _compare(workspace: Workspace, chosen: list[Planned]) -> list[VerifyRow]:
    workspace.store = MemoryStore()
    workspace.rebuilder = Rebuilder(workspace.store, workspace.closures)
    again = Plan(tuple(unbuilt(p, Miss("verified")) for p in chosen), 0)
    built = carry_out(workspace, again)
    return [_verdict(p, outcome) for p, outcome in zip(chosen, built.outcomes, strict=True)]


def _verdict(planned: Planned, outcome: Outcome) -> VerifyRow:
    if outcome.result is None:
        reason = outcome.failure.reason if outcome.failure else ""
        return _row(planned, "failed", reason)
    assert planned.decision.result is not None
    differing = _differing(planned.decision.result, outcome.result)
    if differing:
        return _row(planned, "different", f"not reproducible: {', '.join(differing)}")
    return _row(planned, "same")


def _differing(kept: ActionResult, again: ActionResult) -> list[str]:
    """Names of the artifacts whose bytes are not the same."""
    was = {a.name: a.digest for a in kept.artifacts}
    now = {a.name: a.digest for a in again.artifacts}
    return sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))


def _row(planned: Planned, verdict: str, detail: str = "") -> VerifyRow:
    variant = planned.variant
    return VerifyRow(variant.kernel.name, variant.label, str(variant.target), verdict, detail)
