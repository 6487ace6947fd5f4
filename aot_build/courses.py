"""Planned variants as tasks: the missing stages of each, then its own action."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from aot_build.backends.protocol import Preloading
from aot_build.execute.scheduler import Task
from aot_build.graph.rebuilder import Decision
from aot_build.outcome import Outcome
from aot_build.plan import Planned
from aot_build.stages import decide
from aot_build.stations import ActionTask, Stations


@dataclass(frozen=True, slots=True)
class Course:
    """One variant on its way: a hit stands for itself, a miss has a task."""

    planned: Planned
    stage_steps: tuple[ActionTask | Decision, ...]
    own_step: ActionTask | Decision
    twin: bool = False
    """Whether its work is that of another variant, which was planned before."""

    def tasks(self) -> list[Task]:
        """What is to be run, in no order."""
        return [s for s in (*self.stage_steps, self.own_step) if isinstance(s, ActionTask)]

    @property
    def stages(self) -> tuple[Outcome, ...]:
        """What came of the stages."""
        return tuple(map(_outcome, self.stage_steps))

    @property
    def outcome(self) -> Outcome:
        """What came of the variant; where a stage failed, that."""
        failed = next((o.failure for o in self.stages if o.failure is not None), None)
        if failed is not None:
            return Outcome(self.planned.decision, failure=failed)
        found = _outcome(self.own_step)
        return dataclasses.replace(found, executed=False) if self.twin else found


def course(stations: Stations, planned: Planned) -> Course:
    """The tasks of one planned variant."""
    own = planned.decision
    if own.result is not None:
        return Course(planned, planned.stages, own)
    needs = _imports(stations, planned)
    steps = tuple(
        stage
        if stage.result is not None
        else stations.task(stage, planned.stage_name(n), stage.action.stage, needs=needs)
        for n, stage in enumerate(planned.stages)
    )

    def keyed() -> Decision:
        """The decision now that the stages have run: their bytes may be what they were."""
        known = [_decided(step) for step in steps]
        again = decide(stations.space, own.action, known, planned.name)
        return again if again.result is not None else dataclasses.replace(again, miss=own.miss)

    before = [step for step in steps if isinstance(step, ActionTask)]
    unkeyed = keyed if not own.base_key else None
    twin = stations.knows(own.base_key)
    task = stations.task(own, planned.name, needs=(*needs, *before), decide=unkeyed)
    return Course(planned, steps, task, twin)


def _imports(stations: Stations, planned: Planned) -> Sequence[Task]:
    """What its worker is to find imported."""
    backend = stations.space.registry.get(planned.variant.kernel.backend)
    return stations.imports(backend.preload) if isinstance(backend, Preloading) else ()


def _outcome(step: ActionTask | Decision) -> Outcome:
    if isinstance(step, ActionTask):
        return step.outcome
    return Outcome(step, step.result, step.trace)


def _decided(step: ActionTask | Decision) -> Decision:
    return step.outcome.decided() if isinstance(step, ActionTask) else step
