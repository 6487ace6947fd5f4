"""Variants that are built in stages: what their own action takes from the stages before it.

An action of a later stage is keyed by the bytes of the earlier one's artifacts: where those come
out unchanged, it is cut off. Until all of them are known, it has no key.
"""

import dataclasses
from collections.abc import Sequence

from aot_build.core.action import STAGE, Action
from aot_build.core.result import ActionResult
from aot_build.graph.rebuilder import Decision
from aot_build.workspace import Workspace


def with_stages(action: Action, results: Sequence[ActionResult]) -> Action:
    """The action with the artifacts of its stages among its inputs, in their order."""
    taken = tuple(
        (f"{STAGE}/{number}/{artifact.name}", artifact.digest)
        for number, result in enumerate(results)
        for artifact in result.artifacts
    )
    return dataclasses.replace(action, inputs=(*action.inputs, *taken))


def decide(space: Workspace, action: Action, stages: Sequence[Decision], name: str) -> Decision:
    """What a probe says of an action whose stages have been probed."""
    results = [stage.result for stage in stages if stage.result is not None]
    if len(results) == len(stages):
        return space.rebuilder.probe(with_stages(action, results), space.log.get(name))
    return Decision(action, "", miss=next(s.miss for s in stages if s.miss is not None))
