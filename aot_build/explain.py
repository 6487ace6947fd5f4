"""Why each variant was built or not, the last time: read from the build log, decided elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aot_build.errors import InputError, did_you_mean
from aot_build.events import PlanRow
from aot_build.frontend import plan


@dataclass(frozen=True, slots=True)
class Explanation:
    """One variant: what was decided the last time, and what the next build would say."""

    kernel: str
    variant: str
    target: str
    decision: str


def explain(
    project: Path,
    kernel: str | None,
    targets: Sequence[str] | None = None,
    mode: str | None = None,
) -> list[Explanation]:
    """The last decisions of a project's variants. Raises InputError for an unknown kernel.

    Targets and mode are as configured where they are None.
    """
    rows = plan(project, targets=targets, mode=mode)
    names = {row.kernel for row in rows}
    if kernel is not None and kernel not in names:
        raise InputError(f"no kernel is called {kernel!r}", hint=did_you_mean(kernel, names))
    wanted = [row for row in rows if kernel in (None, row.kernel)]
    return [Explanation(r.kernel, r.variant, r.target, _decision(r)) for r in wanted]


def _decision(row: PlanRow) -> str:
    if row.failed:
        return f"cannot be planned: {row.reason}"
    if not row.hit:
        return f"would be built: {row.reason}"
    return f"hit; last built because: {row.last}" if row.last else "hit"
