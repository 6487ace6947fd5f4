"""Explanations and plans as lines: variants that share a reason are told together."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from aot_build.explain import HIT, Explanation
from aot_build.report.wording import ago, count, duration, name, plain
from aot_build.rows import ChangeRow, DifferenceRow, PlanRow, RuntimeRow, VerifyRow

MOST_SHOWN = 8
"""Changes of one variant; `--json` has more."""
NEW = "never-built"
"""A family: its changes are no reason, but what the row differs in from one that is gone."""
BAD = ("different", "failed", "compiles", "missing", "damaged")
"""Verdicts that make a verification fail."""
BUILT_AGAIN = ("compiles", "missing", "damaged")
"""Verdicts of look-ups that another build may change."""
_WORDS = {
    "compiles": "would be compiled",
    "missing": "does not ship",
    "damaged": "damaged",
    "failed": "failed",
    "undeclared": "not declared",
    "hidden": "not installed",
}
"""Verdicts on what was looked up at run time."""


def explained(found: Sequence[Explanation], *, every: bool = False) -> Iterator[str]:
    """What `explain` prints; `every` lists each variant."""
    for group in _groups(found, _likeness) if not every else [[each] for each in found]:
        first = group[0]
        yield f"{first.decision}: {_name(first)}{_more(group)}"
        yield from (f"  {line}" for line in _account(first, group))
    decisions = Counter(each.decision for each in found)
    tally = ", ".join(f"{number:,} {decision}" for decision, number in decisions.items())
    yield f"{count(len(found), 'variant')}{': ' * bool(tally)}{tally}"


def _account(first: Explanation, group: Sequence[Explanation]) -> Iterator[str]:
    if first.decision != HIT:
        yield from _first(first, group)
    if told := _built(first, group):
        yield told
    for stage in first.stages:
        yield f"{stage.decision}: {plain(stage.stage)}"
        if stage.decision != HIT:
            changes = _reason(stage.reason, stage.changes, stage.more_changes)
            yield from (f"  {line}" for line in changes)


def _first(first: Explanation, group: Sequence[Explanation]) -> Iterator[str]:
    if first.family != NEW:
        yield from _reason(first.reason, first.changes, first.more_changes)
    else:
        yield first.reason
        if len(group) == 1:
            yield from map(_was_row, first.changes)


def _was_row(change: ChangeRow) -> str:
    return plain(f"new {change.component}: {change.was or '-'} -> {change.now or '-'}")


def _reason(reason: str, changes: Sequence[ChangeRow], more: int) -> Iterator[str]:
    if not changes:
        yield from map(plain, reason.splitlines())
    for change in changes[:MOST_SHOWN]:
        yield plain(f"{change.component}: {change.was or '-'} -> {change.now or '-'}")
        if change.since:
            verb = "last seen" if change.now == "absent" else "changed"
            yield f"  {verb} {change.since} ({ago(change.since)})"
    if rest := more + max(0, len(changes) - MOST_SHOWN):
        yield f"and {count(rest, 'other change')}"


def _built(first: Explanation, group: Sequence[Explanation]) -> str:
    built: dict[str, Any] = first.built
    seconds = sum(each.built.get("seconds", 0.0) for each in group)
    took = f"; took {duration(seconds)}{' together' if len(group) > 1 else ''}" if seconds else ""
    if built.get("at"):
        when = f"{built['at']} ({ago(built['at'])})"
        return plain(f"last built here {when}, because: {built['reason']}{took}")
    return f"never built here; found in the cache{took}" if first.decision == HIT else ""


def planned(rows: Sequence[PlanRow], *, every: bool = False) -> Iterator[str]:
    """What `plan` prints of what a build would do."""
    failed = [row for row in rows if row.failed]
    missing = [row for row in rows if not row.hit and not row.failed]
    groups = _groups([*missing, *failed], _reason_of)
    for group in groups if not every else [[row] for row in (*missing, *failed)]:
        row = group[0]
        what = "cannot be planned" if row.failed else "build"
        label = f"{row.kernel} [{row.target}] {row.variant}"
        yield f"{what}{':' if row.failed else ''} {plain(label)}: {row.reason}"
        for change in row.changes[:1]:
            if change.since:
                yield f"  {change.path}, {change.since} ({ago(change.since)})"
        if row.family == NEW:
            yield from (f"  {_was_row(change)}" for change in row.changes if len(group) == 1)
        else:
            for c in row.changes[1:MOST_SHOWN]:
                yield plain(f"  also {c.component}: {c.was or '-'} -> {c.now or '-'}")
        if len(group) > 1:
            yield f"  and {_others(group)} for the same reason"
    yield from _served(rows)
    hits = len(rows) - len(missing) - len(failed)
    more = f", {len(failed)} that cannot be planned" if failed else ""
    yield f"{count(len(rows), 'variant')}: {hits} hits, {len(missing)} to build{more}"


def _served(rows: Sequence[PlanRow]) -> Iterator[str]:
    """What runs before the variants, and how long all of it should take."""
    questions = {each.source: each for row in rows for each in row.helpers if not each.hit}
    for each in questions.values():
        yield plain(f"asked just now: {each.source}: {each.reason}")
    missing = [row for row in rows if not row.hit and not row.failed]
    stages = {stage.key: stage for row in missing for stage in row.stages if not stage.hit}
    kinds = sorted({stage.stage for stage in stages.values()})
    for kind in kinds:
        number = sum(stage.stage == kind for stage in stages.values())
        yield f"before them: {count(number, f'{kind} action')}"
    if seconds := sum(row.expected_s for row in missing):
        yield f"expected: {duration(seconds)} of work, from earlier builds"


def verified(rows: Sequence[VerifyRow]) -> Iterator[str]:
    """What `verify` prints."""
    for row in rows:
        if row.verdict == "same":
            continue
        stage = f" ({row.stage})" if row.stage else ""
        label = plain(f"{row.kernel} [{row.target}] {row.variant}{stage}")
        yield f"{row.verdict}: {label}: {row.detail}"
        for each in row.differences:
            yield from (f"  {line}" for line in _difference(each))
    asked = [row for row in rows if row.stage]
    if asked:
        yield f"{count(len(asked), 'question')} to the project's code asked again: {_bad(asked)}"
    built = [row for row in rows if not row.stage and row.verdict != "unbuilt"]
    yield f"{count(len(built), 'variant')} built again without the cache: {_bad(built)}"


def _bad(rows: Sequence[VerifyRow]) -> str:
    return f"{sum(row.verdict in BAD for row in rows)} differ or fail"


def looked_up(rows: Sequence[RuntimeRow], *, every: bool = False) -> Iterator[str]:
    """What `verify --runtime` prints."""
    told = [row for row in rows if row.verdict != "found"]
    for group in _groups(told, _lookup) if not every else [[row] for row in told]:
        row = group[0]
        label = name(row.kernel, row.variant, row.target)
        yield plain(f"{_WORDS[row.verdict]}{'' if row.verdict == 'hidden' else f': {label}'}")
        yield from (f"  {plain(line)}" for line in row.detail.splitlines())
        if row.nearest:
            yield plain(f"  the nearest that ships: {row.nearest}")
        for each in row.changes[:MOST_SHOWN]:
            yield plain(f"    {each.component}: {each.was or '-'} there, {each.now or '-'} here")
        if more := max(0, len(row.changes) - MOST_SHOWN):
            yield f"    and {count(more, 'other difference')}"
        if len(group) > 1 and row.verdict != "hidden":
            yield f"  and {_others(group)} for the same reason"
    yield _tally(rows)
    if any(row.verdict in BUILT_AGAIN for row in rows):
        yield "hint: build and install again if a source, the toolchain or the environment changed"


def _lookup(row: RuntimeRow) -> object:
    if row.verdict == "hidden":
        return row.detail
    return row.kernel, row.target, row.verdict, row.detail, row.changes


def _tally(rows: Sequence[RuntimeRow]) -> str:
    tally = Counter(row.verdict for row in rows)
    asked = len(rows) - tally["undeclared"] - tally["damaged"] - tally["hidden"]
    kernels = count(len({row.kernel for row in rows}), "kernel")
    parts = [kernels, f"{asked:,} looked up", f"{tally['compiles']:,} would be compiled"]
    others = {"missing": "do not ship", "damaged": "damaged", "failed": "failed"}
    parts += [f"{tally[verdict]:,} {words}" for verdict, words in others.items() if tally[verdict]]
    ran = Counter(row.ran for row in rows if row.ran)
    parts += [f"{number:,} {word} here" for word, number in sorted(ran.items())]
    if tally["undeclared"]:
        parts.append(f"{tally['undeclared']:,} that ship are not declared")
    return ", ".join(parts)


def _difference(row: DifferenceRow) -> Iterator[str]:
    if not row.places:
        yield plain(f"{row.artifact}: {row.hint}")
        return
    sizes = f"{row.kept_size} bytes" + (
        f", built again {row.now_size}" if row.now_size != row.kept_size else ""
    )
    where = f"in {', '.join(row.sections[:MOST_SHOWN])}, " if row.sections else ""
    places = "" if row.places == 1 else f" in {row.places:,} places"
    differ = f"{count(row.differing, 'byte')} differ{'s' * (row.differing == 1)}{places}"
    yield plain(f"{row.artifact} ({sizes}): {differ}, {where}the first at {row.offset:#x}")
    yield plain(f"  kept  {row.kept}")
    yield plain(f"  again {row.now}")
    if row.hint:
        yield f"  hint: {row.hint}"


def _name(each: Explanation) -> str:
    return name(each.kernel, each.variant, each.target)


def _more(group: Sequence[Explanation]) -> str:
    return f", and {_others(group)} for the same reason" if len(group) > 1 else ""


def _others(group: Sequence[Any]) -> str:
    return f"{len(group) - 1:,} more variant{'s' * (len(group) > 2)} of {group[0].kernel}"


def _likeness(each: Explanation) -> object:
    changes = each.changes if each.family != NEW else ()
    told = tuple((change.component, change.was, change.now) for change in changes)
    stages = tuple((s.decision, s.stage, s.reason) for s in each.stages)
    built = each.built
    return (
        each.kernel, each.decision, each.reason, told, built.get("at"), built.get("reason"), stages
    )  # fmt: skip


def _reason_of(row: PlanRow) -> object:
    return row.kernel, row.failed, row.reason, row.changes if row.family != NEW else ()


def _groups(rows: Iterable[Any], likeness: Any) -> list[list[Any]]:
    """Rows that are alike, in the order of the first of each."""
    found: dict[object, list[Any]] = {}
    for row in rows:
        found.setdefault(likeness(row), []).append(row)
    return list(found.values())
