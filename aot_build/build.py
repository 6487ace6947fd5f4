"""plan -> probe -> run the misses -> publish -> manifest."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from aot_build import snapshot
from aot_build._version import VERSION
from aot_build.core.manifest import Entry
from aot_build.core.record import Record
from aot_build.core.result import Miss
from aot_build.errors import InternalError
from aot_build.events import FailureRow, MissRow, Notice, PlanReady, Summary
from aot_build.graph.rebuilder import Decision
from aot_build.materialize import DamagedBlobs, ResultFolder
from aot_build.plan import Plan, Planned, make_plan
from aot_build.request import Request
from aot_build.scheduler import Outcome, Scheduler
from aot_build.watch import keep_snapshot
from aot_build.workspace import Workspace

REBUILDS = 2
"""How often results whose blobs turn out to be damaged are built again."""


@dataclass(frozen=True, slots=True)
class Built:
    """A plan carried out: an outcome for each planned variant, in order."""

    plan: Plan
    outcomes: tuple[Outcome, ...]
    scheduler: Scheduler


def build(workspace: Workspace, request: Request) -> Summary:
    """Build what the workspace's settings declare; failed kernels are told in the summary."""
    began = time.perf_counter()
    snapshot.forget(request.project)
    plan = make_plan(workspace, request.kernels)
    workspace.emit(PlanReady(len(plan.planned), plan.hits, len(plan.planned) - plan.hits))
    built = _carry_out(workspace, plan)
    _keep_records(workspace, built)
    failed = any(outcome.failure for outcome in built.outcomes)
    if not failed:
        built = _materialize(workspace, built, request.kernels, REBUILDS)
    summary = _summary(workspace, built, time.perf_counter() - began)
    workspace.index.save()
    if not failed and not workspace.edited and request.kernels is None:
        keep_snapshot(workspace, request, summary, result_folder(workspace))
    return summary


def _carry_out(workspace: Workspace, plan: Plan) -> Built:
    names = {id(p.decision): p.name for p in plan.planned}
    scheduler = Scheduler(workspace)

    def last(decision: Decision) -> Record | None:
        return workspace.log.get(names[id(decision)])

    outcomes = scheduler.run([p.decision for p in plan.planned], last)
    return Built(plan, tuple(outcomes), scheduler)


def _materialize(
    workspace: Workspace, built: Built, only: Sequence[str] | None, rebuilds: int
) -> Built:
    """Fill the result folder; what the store lost since the probe is built again."""
    folder = result_folder(workspace)
    entries = [_entry(p, o) for p, o in zip(built.plan.planned, built.outcomes, strict=True)]
    try:
        producer = f"aot-build {VERSION}"
        folder.fill(entries, workspace.store, workspace.settings.mode, producer, only)
    except DamagedBlobs as damage:
        if not rebuilds:
            raise InternalError(
                "the cache loses what is written to it",
                {"cache": workspace.settings.cache_dir, "results": len(damage.entries)},
                "check the disk, or set AOT_BUILD_CACHE_DIR to another folder",
            ) from damage
        workspace.emit(Notice(f"{damage} in the cache: building them again"))
        again = _again(workspace, built, damage.entries)
        return _materialize(workspace, again, only, rebuilds - 1)
    return built


def _again(workspace: Workspace, built: Built, lost: list[Entry]) -> Built:
    variants = {id(entry.variant) for entry in lost}
    planned = tuple(
        Planned(p.variant, p.toolchain, Decision(
            p.decision.action, p.decision.base_key, miss=Miss("its result was damaged")
        )) if id(p.variant) in variants
        else Planned(p.variant, p.toolchain, Decision(
            p.decision.action, p.decision.base_key, o.result, o.trace, p.decision.miss
        ))
        for p, o in zip(built.plan.planned, built.outcomes, strict=True)
    )  # fmt: skip
    again = _carry_out(workspace, Plan(planned, built.plan.helpers))
    for old, new in zip(built.outcomes, again.outcomes, strict=True):
        new.executed = new.executed or old.executed
    return again


def result_folder(workspace: Workspace) -> ResultFolder:
    """Where this build's result goes."""
    return ResultFolder(workspace.folder, workspace.settings.package)


def _entry(planned: Planned, outcome: Outcome) -> Entry:
    assert outcome.result is not None
    result = outcome.result
    return Entry(planned.variant, planned.toolchain, result.artifacts, result.metadata)


def _keep_records(workspace: Workspace, built: Built) -> None:
    records = {}
    for planned, outcome in zip(built.plan.planned, built.outcomes, strict=True):
        if outcome.result is None or outcome.trace is None:
            continue
        workspace.remember(outcome.trace)
        last = workspace.log.get(planned.name)
        records[planned.name] = workspace.rebuilder.record(
            planned.decision, outcome.trace, last, outcome.result.seconds
        )
    workspace.log.replace(records)


def _summary(workspace: Workspace, built: Built, wall: float) -> Summary:
    rows = list(zip(built.plan.planned, built.outcomes, strict=True))
    executed = sum(outcome.executed for _, outcome in rows)
    failed = sum(outcome.failure is not None for _, outcome in rows)
    scheduler = built.scheduler
    return Summary(
        actions=len(rows),
        hits=len(rows) - executed - failed,
        executed=executed,
        failed=failed,
        retried=scheduler.retried,
        wall_s=round(wall, 4),
        cpu_s=round(scheduler.cpu_seconds, 3),
        critical_path_s=round(scheduler.longest, 3),
        workers=workspace.slots,
        helpers=built.plan.helpers,
        cache_dir=str(workspace.settings.cache_dir) if workspace.cached else "",
        failures=tuple(_failure_row(p, o) for p, o in rows if o.failure is not None),
        misses=tuple(_miss_row(p, o) for p, o in rows if o.executed or o.failure is not None),
    )


def _failure_row(planned: Planned, outcome: Outcome) -> FailureRow:
    assert outcome.failure is not None
    v, f = planned.variant, outcome.failure
    return FailureRow(v.kernel.name, v.label, str(v.target), f.reason, f.log, f.outcome)


def _miss_row(planned: Planned, outcome: Outcome) -> MissRow:
    v = planned.variant
    return MissRow(v.kernel.name, v.label, str(v.target), str(planned.decision.miss))
