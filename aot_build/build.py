"""plan -> probe -> run the misses -> publish -> manifest."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aot_build import layout, snapshot
from aot_build._version import VERSION
from aot_build.core.action import STAGE
from aot_build.core.manifest import Entry
from aot_build.core.record import Record
from aot_build.core.result import Miss
from aot_build.errors import EnvironmentProblem
from aot_build.events import FailureRow, MissRow, Notice, PlanReady, Summary
from aot_build.graph.rebuilder import Decision
from aot_build.locking import locked
from aot_build.materialize import DamagedBlobs, ResultFolder
from aot_build.plan import Plan, Planned, make_plan
from aot_build.request import Request
from aot_build.scheduler import STAGE_LOST, Outcome, Scheduler
from aot_build.stages import Staged, decide, run_stages
from aot_build.watch import keep_snapshot
from aot_build.workspace import Workspace

REBUILDS = 2
"""How often results whose blobs turn out to be damaged are built again."""


@dataclass(frozen=True, slots=True)
class Built:
    """A plan carried out: an outcome for each planned variant, in order."""

    plan: Plan
    outcomes: tuple[Outcome, ...]
    staged: tuple[Staged, ...]

    @property
    def failed(self) -> bool:
        """Whether anything that was asked for is missing."""
        return bool(self.plan.failures) or any(outcome.failure for outcome in self.outcomes)


def build(workspace: Workspace, request: Request, began_ns: int) -> Summary:
    """Build what the workspace's settings declare; failed kernels are told in the summary.

    `began_ns` is when the settings were read (Unix time).
    """
    began = time.perf_counter()
    snapshot.forget(request.project)
    for note in workspace.settings.unserved:
        workspace.emit(Notice(note))
    plan = make_plan(workspace, request.kernels)
    to_run = len(plan.planned) - plan.hits
    workspace.emit(PlanReady(len(plan.planned), plan.hits, to_run, plan.missing_stages))
    scheduler = Scheduler(workspace)
    built = carry_out(workspace, plan, scheduler)
    # One build at a time fills the folder; others that stand in this checkout wait here.
    with locked(workspace.folder / layout.LOCK, exclusive=True):
        built = _materialize(workspace, built, scheduler, request.kernels)
        everything = request.kernels is None and request.targets is None
        _keep_records(workspace, built, complete=everything)
        summary = _summary(workspace, built, time.perf_counter() - began)
        workspace.index.save()
        workspace.contents.save()
        if not built.failed and not workspace.edited and request.kernels is None:
            keep_snapshot(workspace, request, summary, result_folder(workspace), began_ns)
    return summary


def carry_out(
    workspace: Workspace, plan: Plan, scheduler: Scheduler, *, mended: bool = False
) -> Built:
    """Run what a plan lacks, stages first; outcomes in the order of the plan.

    Where the store has lost what a stage left, the stages run again, once.
    """
    staged = [Staged(p.stages) for p in plan.planned]
    run_stages(workspace, staged)
    decisions = [_decided(workspace, *each) for each in zip(plan.planned, staged, strict=True)]
    names = {id(d): p.name for d, p in zip(decisions, plan.planned, strict=True)}

    def last(decision: Decision) -> Record | None:
        return workspace.log.get(names[id(decision)])

    ready = [d for d, s in zip(decisions, staged, strict=True) if s.failure is None]
    ran = iter(scheduler.run(ready, last))
    outcomes = [
        next(ran) if s.failure is None else Outcome(d, failure=s.failure)
        for d, s in zip(decisions, staged, strict=True)
    ]
    built = Built(plan, tuple(outcomes), tuple(staged))
    return built if mended else _mended(workspace, built, scheduler)


def _mended(workspace: Workspace, built: Built, scheduler: Scheduler) -> Built:
    lost = [n for n, o in enumerate(built.outcomes) if o.failure and o.failure.reason == STAGE_LOST]
    if not lost:
        return built
    planned = [unbuilt(built.plan.planned[n], Miss("its result was damaged")) for n in lost]
    again = carry_out(workspace, Plan(tuple(planned), 0), scheduler, mended=True)
    outcomes, staged = list(built.outcomes), list(built.staged)
    for place, n in enumerate(lost):
        outcomes[n], staged[n] = again.outcomes[place], again.staged[place]
    return Built(built.plan, tuple(outcomes), tuple(staged))


def unbuilt(planned: Planned, miss: Miss) -> Planned:
    """As planned, and nothing of it is there; what its stages will leave is not known again."""
    was = planned.decision
    stages = tuple(Decision(s.action, s.base_key, miss=miss) for s in planned.stages)
    own = tuple(each for each in was.action.inputs if not each[0].startswith(STAGE))
    action = dataclasses.replace(was.action, inputs=own)
    decision = Decision(action, "" if stages else was.base_key, miss=miss)
    return dataclasses.replace(planned, stages=stages, decision=decision)


def _decided(workspace: Workspace, planned: Planned, staged: Staged) -> Decision:
    """The decision now that the stages have run: their bytes may be what they were."""
    if not staged.outcomes or staged.failure is not None:
        return planned.decision
    if planned.decision.base_key:
        return planned.decision
    again = decide(workspace, planned.decision.action, staged.decided, planned.name)
    return (
        again
        if again.result is not None
        else dataclasses.replace(again, miss=planned.decision.miss)
    )


def _materialize(
    workspace: Workspace, built: Built, scheduler: Scheduler, only: Sequence[str] | None
) -> Built:
    """Fill the result folder; what the store lost since the probe is built again.

    Where a kernel failed the folder is left as it was.
    """
    producer = f"aot-build {VERSION}"
    for _ in range(1 + REBUILDS):
        if built.failed:
            return built
        entries = [_entry(p, o) for p, o in zip(built.plan.planned, built.outcomes, strict=True)]
        try:
            mode = workspace.settings.mode
            result_folder(workspace).fill(entries, workspace.store, mode, producer, only)
        except DamagedBlobs as damage:
            workspace.emit(Notice(f"{damage} in the cache: building them again"))
            built = _again(workspace, built, scheduler, damage.entries)
        else:
            return built
    raise EnvironmentProblem(
        "the cache loses what is written to it",
        {"cache": workspace.settings.cache_dir},
        "check the disk, or set AOT_BUILD_CACHE_DIR to another folder",
    )


def _again(workspace: Workspace, built: Built, scheduler: Scheduler, lost: list[Entry]) -> Built:
    damaged = {id(entry.variant) for entry in lost}
    planned = []
    for old, outcome, staged in zip(built.plan.planned, built.outcomes, built.staged, strict=True):
        action, key = outcome.decision.action, outcome.decision.base_key
        decision = Decision(action, key, outcome.result, outcome.trace, old.decision.miss)
        if id(old.variant) in damaged:
            decision = Decision(action, key, miss=Miss("its result was damaged"))
        # Their traces are inputs of this build; where they are lost as well, they run again.
        planned.append(dataclasses.replace(old, decision=decision, stages=staged.decided))
    plan = Plan(tuple(planned), built.plan.helpers, built.plan.failures)
    again = carry_out(workspace, plan, scheduler)
    for before, after in zip(built.outcomes, again.outcomes, strict=True):
        after.executed = after.executed or before.executed
    return again


def result_folder(workspace: Workspace) -> ResultFolder:
    """Where this build's result goes."""
    return ResultFolder(workspace.folder, workspace.settings.package)


def _entry(planned: Planned, outcome: Outcome) -> Entry:
    assert outcome.result is not None
    result = outcome.result
    shipped = _united(result.metadata, planned.variant.metadata)
    return Entry(planned.variant, planned.toolchain, result.artifacts, shipped)


def _united(found: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Two trees of metadata as one; what they share, `more` says."""
    both = {**found, **more}
    for name in found.keys() & more.keys():
        if isinstance(found[name], Mapping) and isinstance(more[name], Mapping):
            both[name] = _united(found[name], more[name])
    return both


def _keep_records(workspace: Workspace, built: Built, *, complete: bool) -> None:
    records = {}
    for planned, outcome in zip(built.plan.planned, built.outcomes, strict=True):
        last = workspace.log.get(planned.name)
        if outcome.result is not None and outcome.trace is not None:
            workspace.remember(outcome.trace)
            records[planned.name] = workspace.rebuilder.record(
                outcome.decision, outcome.trace, last, outcome.result.seconds
            )
        elif last is not None:
            records[planned.name] = last
    for planned, staged in zip(built.plan.planned, built.staged, strict=True):
        for number, stage in enumerate(staged.outcomes):
            if stage.result is not None and stage.trace is not None:
                workspace.remember(stage.trace)
                name = planned.stage_name(number)
                last = workspace.log.get(name)
                records[name] = workspace.rebuilder.record(
                    stage.decision, stage.trace, last, stage.result.seconds
                )
    workspace.log.replace(records, complete=complete and not built.plan.failures)


def _summary(workspace: Workspace, built: Built, wall: float) -> Summary:
    rows = list(zip(built.plan.planned, built.outcomes, strict=True))
    unlisted = built.plan.failures
    executed = sum(outcome.executed for _, outcome in rows if outcome.failure is None)
    failed = sum(outcome.failure is not None for _, outcome in rows)
    tally = workspace.tally
    return Summary(
        actions=len(rows) + len(unlisted),
        hits=len(rows) - executed - failed,
        executed=executed,
        failed=failed + len(unlisted),
        retried=tally.retried,
        wall_s=round(wall, 4),
        cpu_s=round(tally.cpu_seconds, 3),
        critical_path_s=round(max(tally.longest, _longest_chain(built)), 3),
        workers=workspace.slots,
        helpers=built.plan.helpers,
        cache_dir=str(workspace.settings.cache_dir) if workspace.cached else "",
        failures=(*unlisted, *(_failure_row(p, o) for p, o in rows if o.failure is not None)),
        misses=tuple(_miss_row(p, o) for p, o in rows if o.executed or o.failure is not None),
    )


def _longest_chain(built: Built) -> float:
    """Seconds of the slowest variant, its slowest stage included, of what was executed."""

    def seconds(outcomes: Sequence[Outcome]) -> float:
        ran = (o.result.seconds for o in outcomes if o.executed and o.result is not None)
        return max(ran, default=0.0)

    rows = zip(built.outcomes, built.staged, strict=True)
    return max((seconds([o]) + seconds(s.outcomes) for o, s in rows), default=0.0)


def _failure_row(planned: Planned, outcome: Outcome) -> FailureRow:
    assert outcome.failure is not None
    v, f = planned.variant, outcome.failure
    return FailureRow(v.kernel.name, v.label, str(v.target), f.reason, f.log, f.outcome)


def _miss_row(planned: Planned, outcome: Outcome) -> MissRow:
    v = planned.variant
    return MissRow(v.kernel.name, v.label, str(v.target), str(planned.decision.miss))
