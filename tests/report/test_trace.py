"""Traces: what the format asks for, and that they say what happened."""

import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aot_build.events import (
    ActionFailed,
    ActionFinished,
    ActionRetried,
    ActionStarted,
    BuildError,
    BuildFinished,
    BuildStarted,
    Event,
    MissRow,
    Notice,
    PlanReady,
    Summary,
)
from aot_build.report.trace import trace

V = ("scale", "BLOCK=128", "cpu")
W = ("gemm", "-", "cuda:sm_90a")
Timed = Sequence[tuple[float, Event]]

BUILD: list[tuple[float, Event]] = [
    (100.0, BuildStarted("8a1f", "0.1.0")),
    (100.5, PlanReady(3, 1, 2, workers=2)),
    (101.0, ActionStarted(*V, worker=0, expected_s=2.0)),
    (101.0, ActionStarted(*W, worker=1)),
    (102.0, ActionRetried(*W, outcome="memory", attempt=1, worker=1)),
    (102.0, ActionStarted(*W, worker=1)),
    (103.0, ActionFinished(*V, 2.0, 1, 2, worker=0, cpu_s=1.75, peak_bytes=1000)),
    (103.0, ActionFinished("scale", "BLOCK=64", "cpu", 0.0, 2, 3)),
    (104.5, ActionFailed(*W, outcome="error", reason="bad type", worker=1, cpu_s=2.5)),
    (104.6, BuildFinished(Summary(misses=(MissRow(*V, "toolchain: a -> b"),)))),
]


def rows(traced: dict[str, Any], phase: str) -> list[dict[str, Any]]:
    return [row for row in traced["traceEvents"] if row["ph"] == phase]


def check_format(traced: dict[str, Any]) -> None:
    """The rules of the format that viewers rely on."""
    assert json.loads(json.dumps(traced)) == traced
    assert set(traced) == {"traceEvents", "displayTimeUnit", "otherData"}
    lanes: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    named, last = set(), 0
    for row in traced["traceEvents"]:
        assert {"ph", "name", "ts", "pid", "tid"} <= set(row)
        assert isinstance(row["ts"], int) and row["ts"] >= 0 and row["name"].isprintable()
        if row["ph"] == "M":
            assert row["args"].keys() <= {"name", "sort_index"} and row["args"]
            named.add(row["tid"])
            continue
        assert row["ts"] >= last, "sorted"
        last = row["ts"]
        match row["ph"]:
            case "X":
                assert isinstance(row["dur"], int) and row["dur"] >= 0 and row["cat"]
                lanes[row["tid"]].append(row)
            case "i":
                assert row["s"] in ("g", "p", "t") and row["cat"]
            case "C":
                assert all(isinstance(v, int) and v >= 0 for v in row["args"].values())
            case other:
                raise AssertionError(other)
        assert row["tid"] in named
    for bars in lanes.values():
        for before, after in pairwise(bars):
            assert before["ts"] + before["dur"] <= after["ts"], "no two at a time in a lane"


def test_a_whole_build() -> None:
    traced = trace(BUILD)
    check_format(traced)
    assert traced["otherData"] == {"uuid": "8a1f", "version": "0.1.0"}
    first, second, third = sorted(rows(traced, "X"), key=lambda row: row["tid"])
    assert first == {
        "ph": "X", "name": "scale [BLOCK=128]", "cat": "variant,built", "pid": 1, "tid": 1,
        "ts": 1_000_000, "dur": 2_000_000,
        "args": {
            "target": "cpu", "outcome": "built", "attempt": 1, "reason": "toolchain: a -> b",
            "expected_s": 2.0, "cpu_s": 1.75, "peak_bytes": 1000,
        },
    }  # fmt: skip
    assert (second["tid"], second["dur"], second["cat"]) == (2, 1_000_000, "variant,memory")
    assert (third["tid"], third["dur"], third["cat"]) == (2, 2_500_000, "variant,error")
    assert third["args"]["cpu_s"] == 2.5
    assert [row["args"]["attempt"] for row in (second, third)] == [1, 2]
    told = [(row["name"], row["tid"]) for row in rows(traced, "i")]
    assert ("retry: gemm for cuda:sm_90a: memory", 2) in told
    assert ("failed: gemm for cuda:sm_90a: error", 2) in told
    assert ("done by another build: scale [BLOCK=64] for cpu", 0) in told
    names = {row["tid"]: row["args"]["name"] for row in rows(traced, "M") if "name" in row["args"]}
    assert names[1] == "worker 0" and names[2] == "worker 1"


def test_counters_follow_what_runs() -> None:
    counted = rows(trace(BUILD), "C")
    running = [(r["ts"], r["args"]["actions"]) for r in counted if r["name"] == "running"]
    assert running == [(1_000_000, 2), (2_000_000, 2), (3_000_000, 1), (4_500_000, 0)]
    memory = [(r["ts"], r["args"]["bytes"]) for r in counted if r["name"] == "peak memory"]
    assert memory == [(1_000_000, 1000), (2_000_000, 1000), (3_000_000, 0), (4_500_000, 0)]


def test_a_log_that_was_cut_off_has_ends() -> None:
    cut = trace([*BUILD[:6], (109.0, Notice("still there"))])
    check_format(cut)
    open_ends = [row for row in rows(cut, "X") if row["args"]["outcome"] == "unfinished"]
    assert sorted(row["ts"] + row["dur"] for row in open_ends) == [9_000_000, 9_000_000]


def test_what_ends_as_it_begins_comes_first_in_its_lane() -> None:
    short: Timed = [
        (1.0, ActionStarted(*V)),
        (1.0, ActionFinished(*V, 0.0, 1, 2, worker=0)),
        (1.0, ActionStarted(*W)),
        (3.0, ActionFinished(*W, 2.0, 2, 2, worker=0)),
    ]
    check_format(trace(short))


def test_an_error_and_odd_names() -> None:
    odd = ("k\x1b[2J", "N=\n\u7c89", "cpu")
    traced = trace([(5.0, ActionStarted(*odd)), (6.0, BuildError("environment", "no\x07 disk"))])
    check_format(traced)
    assert rows(traced, "i")[0]["name"] == "build failed: no? disk"
    assert trace([])["traceEvents"]


SOME = st.sampled_from([("k", f"N={n}", "cpu") for n in range(4)])


@st.composite
def logs(draw: st.DrawFn) -> Timed:
    """Any order of events, any worker, a clock that jumps."""
    time, found = 1000.0, list[tuple[float, Event]]()
    for _ in range(draw(st.integers(0, 30))):
        time += draw(st.sampled_from([0.0, 0.5, 1e-6, -2.0]))
        worker, variant = draw(st.integers(0, 2)), draw(SOME)
        event = draw(
            st.sampled_from(
                [
                    ActionStarted(*variant, worker=worker),
                    ActionFinished(*variant, 1.0, 1, 2, worker=worker - 1, peak_bytes=worker),
                    ActionFailed(*variant, "crashed", "", worker=worker - 1),
                    ActionRetried(*variant, "lost", 1, worker=worker),
                ]
            )
        )
        found.append((time, event))
    return found


@given(logs())
def test_whatever_a_log_says_the_format_holds(log: Timed) -> None:
    traced = trace(log)
    check_format(traced)
    started = sum(isinstance(event, ActionStarted) for _, event in log)
    assert len(rows(traced, "X")) == started
