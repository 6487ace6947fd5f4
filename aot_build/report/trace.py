"""A build as a trace that Perfetto (https://ui.perfetto.dev) and chrome://tracing show.

The Trace Event Format, JSON object form; its definition is
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU. Times are in
microseconds from the first event. Of its phases these are used:

    X   an attempt at an action, in the lane of its worker: ts, dur, args
    i   a moment: a retry, a failure, an action that another build had done
    C   counters: actions that run, and the sum of their peak memory
    M   names of the process and of the lanes

Lane 0 is the build itself, lane n + 1 worker n.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

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
)
from aot_build.report.progress import Ended, Running, RunningActions, key, which
from aot_build.report.wording import plain

PROCESS = 1
"""The format wants a process id; the lanes are no threads of a process that still exists."""
BUILD = 0
Rows = list[dict[str, Any]]


@dataclass(slots=True)
class _Bar:
    """An attempt that has ended, or that was cut off with the build."""

    running: Running
    lane: int
    attempt: int
    end: int
    outcome: str
    cpu_s: float = 0.0
    peak_bytes: int = 0


def trace(events: Iterable[tuple[float, Event]]) -> dict[str, Any]:
    """The trace of a build, from its events with their Unix times."""
    telling = _Telling()
    for time, event in events:
        telling.take(time, event)
    return telling.trace()


class _Telling:
    """Takes in events in their order and makes rows of them."""

    def __init__(self) -> None:
        self._zero: float | None = None
        self._now = 0
        self._running = RunningActions()
        self._lanes: dict[int, Running] = {}
        self._places: dict[int, int] = {}
        """Lane of a running action, by its id()."""
        self._attempts: dict[tuple[str, ...], int] = {}
        self._bars: list[_Bar] = []
        self._moments: Rows = []
        self._misses: Sequence[MissRow] = ()
        self._other: dict[str, Any] = {}

    def take(self, time: float, event: Event) -> None:
        """Take in one event. A clock that was set back stands still until it is there again."""
        self._zero = time if self._zero is None else self._zero
        self._now = max(self._now, round((time - self._zero) * 1e6))
        match event:
            case BuildStarted():
                self._other = {"uuid": event.uuid, "version": event.version}
            case ActionStarted():
                self._start(event)
            case ActionFinished() | ActionFailed() | ActionRetried():
                self._end(event)
            case BuildFinished():
                self._misses = event.summary.misses
                self._moment("build finished", BUILD)
            case BuildError():
                self._moment(f"build failed: {plain(event.message)}", BUILD)
            case PlanReady():
                self._moment(f"planned: {event.to_run} of {event.actions} to build", BUILD)
            case Notice():
                self._moment(plain(event.text), BUILD)

    def _start(self, event: ActionStarted) -> None:
        started = self._running.start(event, self._now)
        lane = event.worker + 1
        # Bars of one lane must not overlap, whatever the log says.
        while lane in self._lanes:
            lane += 1
        self._lanes[lane] = started
        self._places[id(started)] = lane

    def _end(self, event: Ended) -> None:
        started = self._running.end(event)
        ending = "built" if isinstance(event, ActionFinished) else event.outcome
        lane = BUILD
        if started is not None:
            lane = self._close(started, ending, event.cpu_s, event.peak_bytes)
        if isinstance(event, ActionFinished):
            if started is None:
                self._moment(f"done by another build: {which(event)}", BUILD)
            return
        told = "retry" if isinstance(event, ActionRetried) else "failed"
        self._moment(f"{told}: {which(event)}: {ending}", lane)

    def _close(self, started: Running, ending: str, cpu_s: float = 0.0, peak: int = 0) -> int:
        lane = self._places.pop(id(started))
        del self._lanes[lane]
        action = key(started.event)
        self._attempts[action] = attempt = self._attempts.get(action, 0) + 1
        self._bars.append(_Bar(started, lane, attempt, self._now, ending, cpu_s, peak))
        return lane

    def _moment(self, text: str, lane: int) -> None:
        scope = "p" if lane == BUILD else "t"
        row = {"ph": "i", "name": text, "cat": "build", "s": scope, "ts": self._now}
        self._moments.append({**row, "pid": PROCESS, "tid": lane})

    def trace(self) -> dict[str, Any]:
        """Everything so far; what still runs was cut off with the log."""
        for cut in list(self._lanes.values()):
            self._close(cut, "unfinished")
        reasons = {(m.kernel, m.variant, m.target): m.reason for m in self._misses}
        rows = [_row(bar, reasons) for bar in self._bars] + self._moments + _counters(self._bars)
        # Of two that begin together the shorter one has to be over first: lanes have no nesting.
        rows.sort(key=lambda row: (row["ts"], row.get("dur", 0)))
        lanes = sorted({bar.lane for bar in self._bars})
        return {
            "traceEvents": [*_names(lanes), *rows],
            "displayTimeUnit": "ms",
            "otherData": self._other,
        }


def _row(bar: _Bar, reasons: dict[tuple[str, str, str], str]) -> dict[str, Any]:
    event, begun = bar.running.event, round(bar.running.since)
    args = {
        "target": event.target,
        "outcome": bar.outcome,
        "attempt": bar.attempt,
        "stage": event.stage,
        "reason": reasons.get((event.kernel, event.variant, event.target), ""),
        "expected_s": event.expected_s,
        "cpu_s": bar.cpu_s,
        "peak_bytes": bar.peak_bytes,
    }
    row = "" if event.variant in ("", "-") else f" [{event.variant}]"
    return {
        "ph": "X",
        "name": plain(f"{event.kernel}{row}"),
        "cat": f"{event.stage or 'variant'},{bar.outcome}",
        "ts": begun,
        "dur": bar.end - begun,
        "pid": PROCESS,
        "tid": bar.lane,
        "args": {name: value for name, value in args.items() if value != "" and value != 0},
    }


def _counters(bars: list[_Bar]) -> Rows:
    """A row wherever a count changes; of one moment the last is what counts."""
    changes = [(round(bar.running.since), 1, bar.peak_bytes) for bar in bars]
    changes += [(bar.end, -1, -bar.peak_bytes) for bar in bars]
    running = peak = 0
    at: dict[int, tuple[int, int]] = {}
    for ts, one, size in sorted(changes):
        running, peak = running + one, peak + size
        at[ts] = (running, peak)
    told, known = list[dict[str, Any]](), any(bar.peak_bytes for bar in bars)
    for ts, (actions, size) in at.items():
        told.append(_counter("running", ts, {"actions": actions}))
        if known:
            told.append(_counter("peak memory", ts, {"bytes": size}))
    return told


def _counter(title: str, ts: int, values: dict[str, int]) -> dict[str, Any]:
    return {"ph": "C", "name": title, "ts": ts, "pid": PROCESS, "tid": BUILD, "args": values}


def _names(lanes: list[int]) -> Rows:
    def row(what: str, lane: int, **args: object) -> dict[str, Any]:
        return {"ph": "M", "name": what, "ts": 0, "pid": PROCESS, "tid": lane, "args": args}

    rows = [row("process_name", BUILD, name="aot-build"), row("thread_name", BUILD, name="build")]
    for lane in lanes:
        rows.append(row("thread_name", lane, name=f"worker {lane - 1}"))
        rows.append(row("thread_sort_index", lane, sort_index=lane))
    return rows
