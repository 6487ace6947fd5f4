"""What an action touched that it has no business with."""

from typing import NamedTuple

READS, WRITES, RUNS = "reads", "writes", "runs"


class Trespass(NamedTuple):
    """A read outside of project and toolchain, a write outside of the action's own folders, or the
    run of a program that cannot be traced."""

    deed: str
    path: str
    """Absolute; empty for a program that the tracer did not reach, whose name nobody knows."""

    def __str__(self) -> str:
        if self.deed == RUNS:
            program = self.path or "a program that the tracer does not reach"
            return f"runs {program}, which cannot be traced"
        return f"{self.deed} {self.path}"
