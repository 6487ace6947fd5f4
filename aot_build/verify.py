"""Build again without the cache, and compare bytes: is what is kept what the sources give?

Nothing of it is written to the cache: what is built again goes to a store of its own.
"""

import dataclasses
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from aot_build.build import carry_out, unbuilt
from aot_build.core.result import VERIFIED, ActionResult
from aot_build.core.store import Store
from aot_build.difference import difference, lacking
from aot_build.execute.scheduler import Task
from aot_build.graph.rebuilder import Decision
from aot_build.outcome import Asked, Outcome
from aot_build.plan import Plan, Planned, make_plan
from aot_build.rows import DifferenceRow, VerifyRow
from aot_build.stations import Stations
from aot_build.store.local import LocalStore
from aot_build.store.tiered import Tiered
from aot_build.workspace import Workspace

METADATA = "metadata"


def verify(
    workspace: Workspace, kernels: Sequence[str] | None, sample: int | None
) -> tuple[VerifyRow, ...]:
    """Build `sample` variants again (None: all), drawn at random from those that are kept.

    The questions that the plan asked of their kernels' code are asked again as well.
    """
    kept = workspace.store
    # What the plan has to ask, and nobody has asked yet, is for this verification alone.
    _take_store(workspace, Tiered(LocalStore(workspace.work / "asked"), kept))
    plan = make_plan(workspace, kernels)
    planned = list(plan.planned)
    found = [p for p in planned if p.decision.result is not None]
    chosen = found if sample is None else random.sample(found, min(sample, len(found)))
    rows = [_row(p, "unbuilt", "not in the cache") for p in planned if p.decision.result is None]
    rows += [VerifyRow(f.kernel, f.variant, f.target, "failed", f.reason) for f in plan.failures]
    names = {p.variant.kernel.name for p in chosen}
    asked = [each for each in plan.asked if each.kernel in names]
    return (*rows, *Verification(workspace, kept).rows(chosen, asked))


def _take_store(workspace: Workspace, store: Store) -> None:
    workspace.store = store
    workspace.__dict__.pop("rebuilder", None)


class Verification:
    """One store against another that is filled anew."""

    def __init__(self, workspace: Workspace, kept: Store) -> None:
        self._space = workspace
        self._kept = workspace.store if isinstance(workspace.store, Tiered) else kept
        self._again = LocalStore(workspace.work / "again")
        _take_store(workspace, self._again)

    def rows(self, chosen: Sequence[Planned], asked: Sequence[Asked]) -> Iterator[VerifyRow]:
        """A row for each question and each variant."""
        for each, outcome in zip(asked, self._ask(asked), strict=True):
            result = each.outcome.decision.result
            # One that had to be asked just now has been asked twice in any case.
            result = result or each.outcome.result
            row = VerifyRow(each.kernel, each.label, each.target, "same", stage=each.stage)
            if result is not None:
                yield self._verdict(row, result, outcome)
        built = carry_out(self._space, Plan(tuple(unbuilt(p, VERIFIED) for p in chosen), 0))
        for planned, outcome, stages in zip(chosen, built.outcomes, built.stages, strict=True):
            result = planned.decision.result
            assert result is not None
            row = self._verdict(_row(planned, "same"), result, outcome)
            more = self._stages(planned, stages) if row.verdict == "different" else ()
            yield dataclasses.replace(row, differences=(*row.differences, *more))

    def _ask(self, asked: Sequence[Asked]) -> list[Outcome]:
        stations = Stations(self._space)
        found: dict[int, Outcome] = {}
        tasks: list[Task] = []
        for number, each in enumerate(asked):
            was = each.outcome.decision
            again = Decision(was.action, was.base_key, miss=VERIFIED)

            def answered(outcome: Outcome, number: int = number) -> tuple[()]:
                found[number] = outcome
                return ()

            tasks += stations.ask(again, each.name, answered)
        stations.run(tasks)
        return [found[number] for number in range(len(asked))]

    def _stages(self, planned: Planned, stages: Sequence[Outcome]) -> Iterator[DifferenceRow]:
        """Which of the stages are others: they say more of the cause than what is made of them."""
        for decision, outcome in zip(planned.stages, stages, strict=True):
            if decision.result is not None and outcome.result is not None:
                source = ", ".join(path for path, _ in decision.action.inputs)
                for row in self._differences(decision.result, outcome.result):
                    name = f"{decision.action.stage} of {source}: {row.artifact}"
                    yield dataclasses.replace(row, artifact=name)

    def _verdict(self, row: VerifyRow, kept: ActionResult, outcome: Outcome) -> VerifyRow:
        if outcome.result is None:
            reason = outcome.failure.reason if outcome.failure else ""
            return dataclasses.replace(row, verdict="failed", detail=reason)
        found = tuple(self._differences(kept, outcome.result))
        if not found:
            return row
        names = ", ".join(each.artifact for each in found)
        return dataclasses.replace(
            row, verdict="different", detail=f"not reproducible: {names}", differences=found
        )

    def _differences(self, kept: ActionResult, again: ActionResult) -> Iterator[DifferenceRow]:
        """Of the artifacts, and of what was said of them."""
        was = {a.name: a.digest for a in kept.artifacts}
        now = {a.name: a.digest for a in again.artifacts}
        for name in sorted(was.keys() | now.keys()):
            if was.get(name) != now.get(name):
                one = self._bytes(self._kept, was.get(name))
                two = self._bytes(self._again, now.get(name))
                yield self._difference(name, one, two)
        one, two = (_as_text(result.metadata) for result in (kept, again))
        if one != two:
            yield self._difference(METADATA, one, two)

    def _difference(self, name: str, kept: bytes | None, now: bytes | None) -> DifferenceRow:
        if kept is None or now is None:
            return lacking(name, kept, now)
        return difference(name, kept, now, str(self._space.settings.project))

    def _bytes(self, store: Store, digest: str | None) -> bytes | None:
        if digest is None:
            return None
        path = Path(self._space.work, "compared")
        try:
            return path.read_bytes() if store.fetch(digest, path) else b""
        finally:
            path.unlink(missing_ok=True)


def _as_text(metadata: object) -> bytes:
    return json.dumps(metadata, sort_keys=True, indent=1).encode()


def _row(planned: Planned, verdict: str, detail: str = "") -> VerifyRow:
    variant = planned.variant
    return VerifyRow(variant.kernel.name, variant.label, str(variant.target), verdict, detail)
