"""A build in words: its verdict, what it cost, and what failed, how, and the start of why."""

from collections import Counter
from collections.abc import Iterable

from aot_build.events import FailureRow, Summary
from aot_build.report.wording import count, duration, name, outcome, plain

SPELLED_OUT = 20
"""Nobody reads the four-hundredth failure of one broken header; the counts cover the rest."""
NAMED = 3
"""How many of the variants that failed in the same words are named."""
REASON_LINES = 6


def verdict(summary: Summary) -> str:
    """The last line: `24 variants, 24 hits, 0 built in 0.12 s`."""
    variants, hits = count(summary.actions, "variant"), count(summary.hits, "hit")
    failed = f", {summary.failed} failed" if summary.failed else ""
    return f"{variants}, {hits}, {summary.executed} built{failed} in {duration(summary.wall_s)}"


def effort(summary: Summary) -> str:
    """How good the order was, for a build that built something; else empty.

    `makespan 41 s on 2 workers, 1.03 x the lower bound (critical path 3.10 s, CPU 1 min 20 s)`
    """
    built = summary.executed or summary.failed
    if not built or summary.makespan_s <= 0 or summary.lower_bound_s <= 0:
        return ""
    ratio = summary.makespan_s / summary.lower_bound_s
    path, cpu = duration(summary.critical_path_s), duration(summary.cpu_s)
    return (
        f"makespan {duration(summary.makespan_s)} on {count(summary.workers, 'worker')}, "
        f"{ratio:.2f} x the lower bound (critical path {path}, CPU {cpu})"
    )


def tally(summary: Summary) -> str:
    """Failures counted by kernel and outcome, then each with reason and log, once.

        4 of 24 variants failed
          gemm: 3 error, 1 timed out

        gemm [BM=128] for cpu: error
          gemm.cpp:3: error: no such type
          log: cache/logs/8a1f.log
          and so [BM=64] for cpu, [BM=32] for cpu

    Lines without a newline at the end; empty where nothing failed.
    """
    if not summary.failures:
        return ""
    blocks = ["\n".join([_headline(summary), *_counts(summary.failures)])]
    # What was never started says nothing that its count does not.
    telling = _alike(row for row in summary.failures if row.outcome != "skipped")
    blocks += [_spelled_out(rows) for rows in telling[:SPELLED_OUT]]
    more = sum(map(len, telling[SPELLED_OUT:]))
    if more:
        blocks.append(f"and {count(more, 'more failure')}")
    return "\n\n".join(blocks)


def _alike(rows: Iterable[FailureRow]) -> list[list[FailureRow]]:
    """Failures of one kernel that end in the same words belong together."""
    groups: dict[tuple[str, ...], list[FailureRow]] = {}
    for row in rows:
        groups.setdefault((row.kernel, row.outcome, row.reason.strip()), []).append(row)
    return list(groups.values())


def _headline(summary: Summary) -> str:
    return f"{summary.failed} of {count(summary.actions, 'variant')} failed"


def _counts(rows: tuple[FailureRow, ...]) -> list[str]:
    """One line a kernel, the most frequent outcome first."""
    by_kernel: dict[str, Counter[str]] = {}
    for row in rows:
        by_kernel.setdefault(plain(row.kernel), Counter())[outcome(row.outcome)] += 1
    width = max(map(len, by_kernel)) + 1
    lines = []
    for kernel, outcomes in sorted(by_kernel.items()):
        ordered = sorted(outcomes.items(), key=lambda item: (-item[1], item[0]))
        told = ", ".join(f"{number} {ending}" for ending, number in ordered)
        lines.append(f"  {kernel + ':':<{width}} {told}")
    return lines


def _spelled_out(rows: list[FailureRow]) -> str:
    row, *others = rows
    lines = [f"{name(row.kernel, row.variant, row.target)}: {outcome(row.outcome)}"]
    reason = [plain(line) for line in row.reason.strip("\n").splitlines()]
    lines += [f"  {line}".rstrip() for line in reason[:REASON_LINES]]
    if len(reason) > REASON_LINES:
        lines.append(f"  ... {count(len(reason) - REASON_LINES, 'more line')}")
    if row.log:
        lines.append(f"  log: {plain(row.log)}")
    if others:
        named = [name("", each.variant, each.target).strip() for each in others[:NAMED]]
        more = len(others) - len(named)
        rest = f" and {count(more, 'more variant')}" if more else ""
        lines.append(f"  and so {', '.join(named)}{rest}")
    return "\n".join(lines)
