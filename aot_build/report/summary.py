"""The tally of a failed build: what failed, how, and the start of why."""

from collections import Counter

from aot_build.events import FailureRow, Summary
from aot_build.report.wording import count, name, plain

SPELLED_OUT = 20
"""Nobody reads the four-hundredth failure of one broken header; the counts cover the rest."""
REASON_LINES = 6


def tally(summary: Summary) -> str:
    """Failures counted by kernel and outcome, then the first of them with reason and log.

        3 of 24 variants failed
          gemm:  2 error, 1 timeout

        gemm [BM=128] for cpu: error
          gemm.cpp:3: error: no such type
          log: cache/logs/8a1f.log

    Lines without a newline at the end; empty where nothing failed.
    """
    if not summary.failures:
        return ""
    blocks = ["\n".join([_headline(summary), *_counts(summary.failures)])]
    # What was never started says nothing that its count does not.
    telling = [row for row in summary.failures if row.outcome != "skipped"]
    blocks += [_spelled_out(row) for row in telling[:SPELLED_OUT]]
    if len(telling) > SPELLED_OUT:
        blocks.append(f"and {count(len(telling) - SPELLED_OUT, 'more failure')}")
    return "\n\n".join(blocks)


def _headline(summary: Summary) -> str:
    return f"{summary.failed} of {count(summary.actions, 'variant')} failed"


def _counts(rows: tuple[FailureRow, ...]) -> list[str]:
    """One line a kernel, the most frequent outcome first."""
    by_kernel: dict[str, Counter[str]] = {}
    for row in rows:
        by_kernel.setdefault(row.kernel, Counter())[row.outcome] += 1
    width = max(map(len, by_kernel)) + 1
    lines = []
    for kernel, outcomes in sorted(by_kernel.items()):
        ordered = sorted(outcomes.items(), key=lambda item: (-item[1], item[0]))
        told = ", ".join(f"{number} {outcome}" for outcome, number in ordered)
        lines.append(f"  {kernel + ':':<{width}} {told}")
    return lines


def _spelled_out(row: FailureRow) -> str:
    lines = [f"{name(row.kernel, row.variant, row.target)}: {row.outcome}"]
    reason = [plain(line) for line in row.reason.strip("\n").splitlines()]
    lines += [f"  {line}".rstrip() for line in reason[:REASON_LINES]]
    if len(reason) > REASON_LINES:
        lines.append(f"  ... {count(len(reason) - REASON_LINES, 'more line')}")
    if row.log:
        lines.append(f"  log: {row.log}")
    return "\n".join(lines)
