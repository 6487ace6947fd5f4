"""What came of the decisions of a build."""

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


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to the project's code that a plan rests on, and what came of it."""

    kernel: str
    target: str
    """One, or those that the question was for."""
    name: str
    """In the history."""
    outcome: Outcome

    @property
    def label(self) -> str:
        """For people."""
        return self.outcome.decision.action.label

    @property
    def stage(self) -> str:
        """What it does for the variants."""
        return self.outcome.decision.action.stage

    @property
    def record(self) -> str:
        """Names it in the build log."""
        return asked_record(self.kernel, self.target, self.label)


def asked_record(kernel: str, target: str, label: str) -> str:
    """The name of a question in the build log, unlike any of a variant or a stage."""
    return f"{kernel}|{target}||{label}"
