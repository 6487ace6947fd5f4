"""What came of one decision of a build."""

from dataclasses import dataclass

from aot_build.core.result import ActionResult, Failure
from aot_build.core.trace import Trace
from aot_build.graph.rebuilder import Decision


@dataclass(slots=True)
class Outcome:
    """What came of one decision: a result or a failure."""

    decision: Decision
    result: ActionResult | None = None
    trace: Trace | None = None
    failure: Failure | None = None
    executed: bool = False

    def decided(self) -> Decision:
        """What is known now that it has been carried out."""
        was = self.decision
        return Decision(was.action, was.base_key, self.result, self.trace, was.miss)
