"""plan -> probe -> run the misses -> publish -> manifest."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aot_build import layout, snapshot
from aot_build._version import VERSION
from aot_build.core.action import STAGE
from aot_build.core.manifest import Entry, clashes
from aot_build.core.result import DAMAGED, Failure, Miss
from aot_build.courses import Course, course
from aot_build.errors import EnvironmentProblem
from aot_build.events import FailureRow, MissRow, Notice, PlanReady, Summary
from aot_build.execute.scheduler import Task
from aot_build.graph.rebuilder import Decision
from aot_build.locking import locked
from aot_build.materialize import DamagedBlobs, ResultFolder
from aot_build.outcome import Outcome
from aot_build.plan import Plan, Planned, Planner, served
from aot_build.request import Request
from aot_build.stations import STAGE_LOST, Stations
from aot_build.watch import keep_snapshot
from aot_build.workspace import Workspace

REBUILDS = 2
"""How often results whose blobs turn out to be damaged are built again."""


@dataclass(frozen=True, slots=True)
class Built:
    """A plan carried out: an outcome for each planned variant and for its stages, in order."""

    plan: Plan
    outcomes: tuple[Outcome, ...]
    stages: tuple[tuple[Outcome, ...], ...]

    @property
    def failed(self) -> bool:
        """Whether anything that was asked for is missing."""
        return bool(self.plan.failures) or any(outcome.failure for outcome in self.outcomes)


def build(workspace: Workspace, request: Request, began_ns: int) -> Summary:
    """Build what the workspace's settings declare; failed kernels are told in the summary.

    `began_ns` is when the settings were read (Unix time).
    """
    began = time.perf_counter()
    snapshot.forget(request.project, request.shape)
    # Who names kernels is told of those alone, by the plan.
    for note in workspace.settings.unserved.values() if request.kernels is None else ():
        workspace.emit(Notice(note))
    built = _mended(workspace, _plan_and_run(workspace, request))
    # One build at a time fills the folder; others that stand in this checkout wait here.
    with locked(workspace.folder / layout.LOCK, exclusive=True):
        built = _materialize(workspace, built, request)
        everything = request.kernels is None and request.targets is None
        _keep_records(workspace, built, complete=everything)
        summary = _summary(workspace, built, time.perf_counter() - began)
        workspace.index.save()
        workspace.contents.save()
        workspace.keep_history()
        if not built.failed and not workspace.edited:
            keep_snapshot(workspace, request, summary, result_folder(workspace, request), began_ns)
    return summary


def _plan_and_run(workspace: Workspace, request: Request) -> Built:
    """Run each variant as soon as it is planned: what must be asked of the project's code first
    is asked beside the compiles of what was planned without."""
    stations = Stations(workspace)
    courses: dict[int, Course] = {}

    def planned(each: Planned) -> list[Task]:
        courses[id(each)] = course(stations, each)
        return courses[id(each)].tasks()

    def ready(plan: Plan) -> None:
        tasks = {task for each in courses.values() for task in each.tasks()}
        workspace.emit(
            PlanReady(
                actions=len(plan.planned),
                hits=plan.hits,
                to_run=len(plan.planned) - plan.hits,
                stages=plan.missing_stages,
                workers=workspace.slots,
                expected_s=round(sum(task.seconds for task in tasks), 3),
            )
        )

    # Who asks for a folder of its own names a family, of which targets leave a part.
    names = served(workspace.settings, request.kernels) if request.folder else request.kernels
    plan = Planner(stations, planned, ready).plan(names)
    return _built(plan, [courses[id(each)] for each in plan.planned])


def _built(plan: Plan, courses: Sequence[Course]) -> Built:
    return Built(plan, tuple(c.outcome for c in courses), tuple(c.stages for c in courses))


def carry_out(workspace: Workspace, plan: Plan) -> Built:
    """Run what a plan lacks; outcomes in the order of the plan."""
    stations = Stations(workspace)
    courses = [course(stations, each) for each in plan.planned]
    stations.run(task for each in courses for task in each.tasks())
    return _built(plan, courses)


def _mended(workspace: Workspace, built: Built) -> Built:
    """Where the store has lost what a stage left, the stages run again, once."""
    lost = [n for n, o in enumerate(built.outcomes) if o.failure and o.failure.reason == STAGE_LOST]
    if not lost:
        return built
    planned = [unbuilt(built.plan.planned[n], DAMAGED) for n in lost]
    again = carry_out(workspace, Plan(tuple(planned), 0))
    outcomes, stages = list(built.outcomes), list(built.stages)
    for place, n in enumerate(lost):
        outcomes[n], stages[n] = again.outcomes[place], again.stages[place]
    return Built(built.plan, tuple(outcomes), tuple(stages))


def unbuilt(planned: Planned, miss: Miss) -> Planned:
    """As planned, and nothing of it is there; what its stages will leave is not known again."""
    was = planned.decision
    stages = tuple(Decision(s.action, s.base_key, miss=miss) for s in planned.stages)
    own = tuple(each for each in was.action.inputs if not each[0].startswith(STAGE))
    action = dataclasses.replace(was.action, inputs=own)
    decision = Decision(action, "" if stages else was.base_key, miss=miss)
    return dataclasses.replace(planned, stages=stages, decision=decision)


def _materialize(workspace: Workspace, built: Built, request: Request) -> Built:
    """Fill the result folder; what the store lost since the probe is built again.

    Where a kernel failed the folder is left as it was.
    """
    producer = f"aot-build {VERSION}"
    only = None if request.folder else request.kernels
    for _ in range(1 + REBUILDS):
        if built.failed:
            return built
        entries = [_entry(p, o) for p, o in zip(built.plan.planned, built.outcomes, strict=True)]
        if _refuse_clashes(built, entries):
            return built
        try:
            mode = workspace.settings.mode
            folder = result_folder(workspace, request)
            folder.fill(entries, workspace.store, mode, producer, only)
        except DamagedBlobs as damage:
            workspace.emit(Notice(f"{damage} in the cache: building them again"))
            built = _again(workspace, built, damage.entries)
        else:
            return built
    raise EnvironmentProblem(
        "the cache loses what is written to it",
        {"cache": workspace.settings.cache_dir},
        "check the disk, or set AOT_BUILD_CACHE_DIR to another folder",
    )


def _refuse_clashes(built: Built, entries: Sequence[Entry]) -> bool:
    """Fail each variant of which the runtime could serve another one's file; whether there is one.

    Both are kept: which of them is wrong is for whoever wrote them to say.
    """
    places = {id(entry): place for place, entry in enumerate(entries)}
    found = clashes(entries)
    for first, second, name in found:
        variant = first.variant
        other = f"{variant.kernel.name} [{variant.label}] for {variant.target}"
        built.outcomes[places[id(second)]].failure = Failure(
            "error",
            f"it left another {name} than {other} did: at run time there is one file of that name",
        )
    return bool(found)


def _again(workspace: Workspace, built: Built, lost: list[Entry]) -> Built:
    damaged = {id(entry.variant) for entry in lost}
    planned = []
    for old, outcome, staged in zip(built.plan.planned, built.outcomes, built.stages, strict=True):
        action, key = outcome.decision.action, outcome.decision.base_key
        decision = Decision(action, key, outcome.result, outcome.trace, old.decision.miss)
        if id(old.variant) in damaged:
            decision = Decision(action, key, miss=DAMAGED)
        # Their traces are inputs of this build; where they are lost as well, they run again.
        stages = tuple(stage.decided() for stage in staged)
        planned.append(dataclasses.replace(old, decision=decision, stages=stages))
    plan = dataclasses.replace(built.plan, planned=tuple(planned))
    again = _mended(workspace, carry_out(workspace, plan))
    for before, after in zip(built.outcomes, again.outcomes, strict=True):
        after.executed = after.executed or before.executed
    return again


def result_folder(workspace: Workspace, request: Request) -> ResultFolder:
    """Where this build's result goes."""
    return ResultFolder(workspace.folder / request.folder, workspace.settings.package)


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
    """Have the build log say what was decided, and why."""
    records, now = {}, time.time()

    def keep(name: str, outcome: Outcome) -> None:
        last = workspace.log.get(name)
        if outcome.result is not None and outcome.trace is not None:
            workspace.remember(outcome.trace)
            seconds = outcome.result.seconds
            records[name] = workspace.rebuilder.record(
                outcome.decision, outcome.trace, last, seconds, now
            )
        elif last is not None:
            records[name] = last

    for planned, outcome, stages in zip(
        built.plan.planned, built.outcomes, built.stages, strict=True
    ):
        keep(planned.name, outcome)
        for number, stage in enumerate(stages):
            keep(planned.stage_name(number), stage)
    for asked in built.plan.asked:
        keep(asked.record, asked.outcome)
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
        critical_path_s=round(tally.critical_path, 3),
        makespan_s=round(max(0.0, tally.ended - tally.began), 3),
        lower_bound_s=round(max(tally.critical_path, tally.cpu_seconds / workspace.slots), 3),
        workers=workspace.slots,
        helpers=built.plan.helpers,
        cache_dir=str(workspace.settings.cache_dir) if workspace.cached else "",
        failures=(*unlisted, *(_failure_row(p, o) for p, o in rows if o.failure is not None)),
        misses=tuple(
            _miss_row(p, o) for p, o in rows if o.executed or (o.failure and p.decision.miss)
        ),
    )


def _failure_row(planned: Planned, outcome: Outcome) -> FailureRow:
    assert outcome.failure is not None
    v, f = planned.variant, outcome.failure
    return FailureRow(v.kernel.name, v.label, str(v.target), f.reason, f.log, f.outcome)


def _miss_row(planned: Planned, outcome: Outcome) -> MissRow:
    v = planned.variant
    return MissRow(v.kernel.name, v.label, str(v.target), str(planned.decision.miss))
