"""A plan told as rows: what each variant is, and for a miss what changed, and since when."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from aot_build.core.record import Record
from aot_build.core.result import Change
from aot_build.graph.components import changes_of_parts, components
from aot_build.graph.rebuilder import NEVER_BUILT, Decision
from aot_build.outcome import Asked
from aot_build.plan import Plan, Planned
from aot_build.report.wording import iso
from aot_build.rows import ChangeRow, PlanRow, StageRow
from aot_build.workspace import Workspace

MOST_CHANGES = 50
"""Of one variant that are told one by one: a new release of torch changes thousands of headers."""
MOST_COMPARED = 20_000
"""Pairs of a variant that is new and one that is gone."""
ROW = "row "


def list_plan(plan: Plan, workspace: Workspace) -> tuple[PlanRow, ...]:
    """A plan as rows for people and for JSON: what cannot be planned comes last."""
    account = Account(workspace, plan.asked)
    rows = [account.variant(planned) for planned in plan.planned]
    rows = list(_with_predecessors(rows, plan.planned, workspace.log.all()))
    for row in plan.failures:
        reason = f"{row.reason}\n  log: {row.log}"
        unplanned = PlanRow(row.kernel, row.variant, row.target, False, reason, failed=True)
        rows.append(unplanned)
    return tuple(rows)


def _with_predecessors(
    rows: Sequence[PlanRow], planned: Sequence[Planned], log: Mapping[str, Record]
) -> Iterator[PlanRow]:
    """What is new, beside the variant of the last build that it most likely was: an edited row is
    a new variant, and one that is gone."""
    gone: dict[str, list[Record]] = {}
    for name in sorted(log.keys() - {row.name for row in rows}):
        gone.setdefault(name.rpartition("|")[0], []).append(log[name])
    new = sum(row.family == NEVER_BUILT.family for row in rows)
    for row, each in zip(rows, planned, strict=True):
        before = gone.get(row.name.rpartition("|")[0], [])
        if row.family == NEVER_BUILT.family and 0 < len(before) * new <= MOST_COMPARED:
            row = replace(row, changes=_from_nearest(each.decision, before))
        yield row


def _from_nearest(decision: Decision, before: Iterable[Record]) -> tuple[ChangeRow, ...]:
    """What a row differs in from the one that it has most in common with."""
    now = components(decision.action)
    found = (changes_of_parts(record.components, now) for record in before)
    rows = ([c for c in changes if c.component.startswith(ROW)] for changes in found)
    return tuple(ChangeRow(c.family, c.component, c.was, c.now) for c in min(rows, key=len))


class Account:
    """Tells decisions; each change, which many may share, is looked into once."""

    def __init__(self, workspace: Workspace, asked: Iterable[Asked] = ()) -> None:
        self._space = workspace
        self._asked: dict[str, list[tuple[str, StageRow]]] = {}
        self._told: dict[tuple[int, float], tuple[ChangeRow, ...]] = {}

        for each in asked:
            row = self._question(each)
            self._asked.setdefault(each.kernel, []).append((each.target, row))

    def _question(self, asked: Asked) -> StageRow:
        """Whether the answer was there: where it was not, this very plan has asked for it."""
        row = self.stage(asked.outcome.decision, asked.record)
        return replace(row, source=asked.label)

    def variant(self, planned: Planned) -> PlanRow:
        """One variant with its stages."""
        variant, own = planned.variant, planned.decision
        stages = [self.stage(s, planned.stage_name(n)) for n, s in enumerate(planned.stages)]
        told = self.stage(own, planned.name)
        spent = [self._expected(own, planned.name)]
        spent += [self._expected(s, planned.stage_name(n)) for n, s in enumerate(planned.stages)]
        return PlanRow(
            kernel=variant.kernel.name,
            variant=variant.label,
            target=str(variant.target),
            hit=told.hit,
            reason=told.reason,
            seconds=told.seconds,
            last=told.last,
            family=told.family,
            changes=told.changes,
            more_changes=told.more_changes,
            built_at=told.built_at,
            built_family=told.built_family,
            key=told.key,
            expected_s=round(sum(spent), 3),
            name=planned.name,
            stages=tuple(stages),
            helpers=tuple(
                row
                for targets, row in self._asked.get(variant.kernel.name, ())
                if str(variant.target) in targets.split(", ")
            ),
        )

    def stage(self, decision: Decision, name: str) -> StageRow:
        """One action: what was found of it, and what its record tells."""
        last, miss = self._space.log.get(name), decision.miss
        changes = miss.changes if miss else ()
        result = decision.result
        return StageRow(
            stage=decision.action.stage,
            source=", ".join(path for path, _ in decision.action.inputs),
            hit=miss is None,
            reason=str(miss or ""),
            family=miss.family if miss else "",
            changes=self._changes(changes, last),
            more_changes=max(0, len(changes) - MOST_CHANGES),
            seconds=round(result.seconds if result else last.seconds if last else 0.0, 3),
            last=last.built if last else "",
            built_at=iso(last.built_at) if last and last.built_at else "",
            built_family=last.family if last else "",
            key=decision.key or decision.base_key,
        )

    def _expected(self, decision: Decision, name: str) -> float:
        """Seconds that a miss should take, from history."""
        if decision.result is not None:
            return 0.0
        action = decision.action
        return self._space.history.seconds(f"{action.kernel}|{action.stage}", name)

    def _changes(self, changes: Sequence[Change], last: Record | None) -> tuple[ChangeRow, ...]:
        seen_at = last.at if last else 0.0
        shared = id(changes), seen_at
        if shared not in self._told:
            # The decision, and with it the tuple, lives as long as this.
            self._told[shared] = tuple(self._change(c, seen_at) for c in changes[:MOST_CHANGES])
        return self._told[shared]

    def _change(self, change: Change, seen_at: float) -> ChangeRow:
        path = self._path(change)
        try:
            since = os.lstat(path).st_mtime if path else 0.0
        except OSError:
            since = seen_at
        return ChangeRow(
            change.family, change.component, change.was, change.now, path,
            iso(since) if since else "",
        )  # fmt: skip

    def _path(self, change: Change) -> str:
        """As this machine has it."""
        try:
            return self._space.roles.decode(change.path) if change.path else ""
        except KeyError:
            return ""
