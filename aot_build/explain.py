"""Why each variant would be built, or why it last was: decided elsewhere, told here."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aot_build import snapshot
from aot_build.core.record import Record
from aot_build.errors import InputError
from aot_build.frontend import plan
from aot_build.report.wording import iso
from aot_build.request import Request
from aot_build.rows import ChangeRow, PlanRow, StageRow

if TYPE_CHECKING:
    from aot_build.settings import Settings

HIT, MISS, FAILED, VANISHED = "hit", "miss", "failed", "vanished"


@dataclass(frozen=True, slots=True)
class Explanation:
    """One variant, or one action that serves it: what the next build would say of it.

    `failed`: it cannot be planned. `vanished`: the last build had it, and it is declared no more.
    """

    kernel: str
    variant: str
    target: str
    decision: str
    reason: str = ""
    """Why it would be built; in one line, the first of the changes."""
    family: str = ""
    changes: tuple[ChangeRow, ...] = ()
    more_changes: int = 0
    built: dict[str, Any] = field(default_factory=dict)
    """`at`, `reason` and `family` of the last time that it was built here, empty where it never
    was; `seconds` that this took, here or elsewhere."""
    origin: str = ""
    """Of a hit: `here`, or `cache` where another checkout built it, or a log that is gone."""
    key: str = ""
    stage: str = ""
    """What it does for the variant; empty where it is the variant's own."""
    stages: tuple["Explanation", ...] = ()


def explain(
    project: Path,
    kernel: str | None,
    targets: Sequence[str] | None = None,
    mode: str | None = None,
) -> list[Explanation]:
    """What becomes of a project's variants now. Raises InputError for an unknown kernel.

    Targets and mode are as configured where they are None.
    """
    declared = _declared(project) if kernel is not None else ()
    # What another kernel lacks, such as its compiler, is no matter of this one.
    asked = [kernel] if kernel is not None and kernel in declared else None
    rows = plan(project, targets=targets, mode=mode, kernels=asked)
    # What was left out on purpose has not vanished.
    gone = list(_vanished(project, rows)) if targets is None else []
    names = {row.kernel for row in rows} | {each.kernel for each in gone}
    if kernel in declared and kernel not in names:
        text = f"kernel {kernel!r} is declared, and nothing of it would be built"
        raise InputError(text, hint="aot-build plan says what is left out")
    if kernel is not None and kernel not in names:
        raise _not_built(project, kernel, names)
    found = [*map(_explained, rows), *gone]
    return [each for each in found if kernel in (None, each.kernel)]


def _settings(project: Path) -> "Settings":
    # Late: to show what is explained needs none of it.
    from aot_build.opening import declared_settings

    return declared_settings(Request(os.path.realpath(project)))[0]


def _declared(project: Path) -> set[str]:
    return {spec.name for spec in _settings(project).kernels}


def _not_built(project: Path, kernel: str, names: set[str]) -> InputError:
    from aot_build.plan import not_built

    return not_built(_settings(project), kernel, names)


def _explained(row: PlanRow) -> Explanation:
    asked = (_told(row, each, stage=each.source) for each in row.helpers)
    stages = (_told(row, each, stage=f"{each.stage} of {each.source}") for each in row.stages)
    return _told(row, row, stages=(*asked, *stages))


def _told(variant: PlanRow, row: PlanRow | StageRow, **more: Any) -> Explanation:
    failed = isinstance(row, PlanRow) and row.failed
    return Explanation(
        variant.kernel,
        variant.variant,
        variant.target,
        FAILED if failed else HIT if row.hit else MISS,
        reason=row.reason,
        family=row.family,
        changes=row.changes,
        more_changes=row.more_changes,
        built=_built(row.built_at, row.last, row.built_family, row.seconds),
        origin="" if not row.hit else "here" if row.built_at else "cache",
        key=row.key,
        **more,
    )


def _built(at: str, reason: str, family: str, seconds: float) -> dict[str, Any]:
    return {"at": at, "reason": reason, "family": family, "seconds": seconds}


def _vanished(project: Path, rows: Sequence[PlanRow]) -> Iterator[Explanation]:
    """What the log has and the plan has not. Kernels that cannot be planned have not vanished."""
    from aot_build.store.log import NAME, BuildLog

    log = BuildLog(Path(project).joinpath(*snapshot.FOLDER, NAME))
    known = {row.name for row in rows}
    unknown = {row.kernel for row in rows if row.failed}
    for name, record in log.all().items():
        kernel, target, *rest = name.split("|")
        if name not in known and kernel not in unknown and len(rest) == 1:
            yield Explanation(
                kernel, record.label, target, VANISHED, _last_seen(record),
                built=_built(
                    iso(record.built_at) if record.built_at else "", record.built, record.family,
                    record.seconds,
                ),
            )  # fmt: skip


def _last_seen(record: Record) -> str:
    seen = f"; the build of {iso(record.at)} had it" if record.at else ""
    return f"it is not declared any more{seen}"
