"""The exact lines that a person sees."""

import io
import os
import signal
import threading
import time
from collections.abc import Iterable

import pytest

from aot_build.events import (
    ActionFailed,
    ActionFinished,
    ActionRetried,
    ActionStarted,
    BuildFinished,
    Event,
    Notice,
    PlanReady,
    Summary,
)
from aot_build.report.console import Console
from aot_build.report.heartbeat import Heartbeat
from aot_build.report.narration import Verbosity

V = ("scale", "BLOCK=128, T=float", "cpu")
W = ("gemm", "-", "cuda:sm_90a")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(events: Iterable[Event | float], stream: io.StringIO, verbose: bool = False) -> str:
    """What is printed for events, and for seconds that pass between them."""
    clock = Clock()
    console = Console(stream, Verbosity.VERBOSE if verbose else Verbosity.NORMAL, clock)
    for event in events:
        if isinstance(event, float):
            clock.now += event
        else:
            console.emit(event)
    return stream.getvalue()


BUILD: list[Event | float] = [
    PlanReady(24, 20, 4),
    ActionStarted(*V),
    ActionStarted(*W),
    1.0,
    ActionFinished(*V, seconds=1.25, done=1, total=4),
    ActionStarted("scale", "BLOCK=64, T=float", "cpu"),
    5.5,
    ActionRetried(*W, outcome="memory", attempt=1),
    ActionStarted(*W),
    7.5,
    ActionFinished("scale", "BLOCK=64, T=float", "cpu", seconds=13.0, done=2, total=4),
    3.0,
    ActionFailed(*W, outcome="timeout", reason="\nran for 1,200 s\nand more", log="x.log"),
    Notice("cache is not writable: building without it"),
    BuildFinished(Summary(24, 20, 3, 1, 1, 135.4)),
]
LINES = """\
aot_build: 24 variants: 20 hits, 4 to build
aot_build: retrying gemm for cuda:sm_90a: out of memory (attempt 1)
aot_build: 2/4 done, 1 running, 20 hits, 14 s
aot_build: FAILED gemm for cuda:sm_90a: timed out: ran for 1,200 s
aot_build: cache is not writable: building without it
aot_build: 24 variants, 20 hits, 3 built, 1 failed in 2 min 15 s
"""


def test_a_build_in_a_log() -> None:
    assert told(BUILD, io.StringIO()) == LINES


def test_verbose_names_each_variant() -> None:
    lines = told(BUILD, io.StringIO(), verbose=True).splitlines()
    assert "aot_build: [1/4] scale [BLOCK=128, T=float] for cpu in 1.25 s" in lines
    assert "aot_build: [2/4] scale [BLOCK=64, T=float] for cpu in 13 s" in lines


def test_a_terminal_shows_failures_in_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    failed = "aot_build: FAILED gemm for cuda:sm_90a: timed out: ran for 1,200 s"
    assert told(BUILD, Terminal()) == LINES.replace(failed, f"\x1b[31m{failed}\x1b[0m")
    monkeypatch.setenv("NO_COLOR", "1")
    assert told(BUILD, Terminal()) == LINES


def test_nothing_to_do_is_one_line() -> None:
    events = [PlanReady(24, 24, 0), BuildFinished(Summary(actions=24, hits=24, wall_s=0.12))]
    assert told(events, io.StringIO()) == "aot_build: 24 variants, 24 hits, 0 built in 0.12 s\n"


def test_each_line_of_a_notice_says_who_speaks() -> None:
    assert told([Notice("one\ntwo")], io.StringIO()) == "aot_build: one\naot_build: two\n"


def test_one_is_singular() -> None:
    events = [PlanReady(1, 0, 1), PlanReady(2, 1, 1)]
    assert told(events, io.StringIO()).splitlines() == [
        "aot_build: 1 variant: 0 hits, 1 to build",
        "aot_build: 2 variants: 1 hit, 1 to build",
    ]


def test_progress_is_told_at_most_every_few_seconds() -> None:
    events: list[Event | float] = [PlanReady(100, 0, 100), ActionStarted("k", "N=last", "cpu")]
    for number in range(100):
        variant = ("k", f"N={number}", "cpu")
        done = ActionFinished(*variant, seconds=0.5, done=number + 1, total=100)
        events += [ActionStarted(*variant), 0.5, done]
    lines = told(events, io.StringIO()).splitlines()
    assert len(lines) == 11
    assert lines[1] == "aot_build: 10/100 done, 1 running, 5 s"
    assert lines[10] == "aot_build: 100/100 done, 1 running, 50 s"


def test_escape_sequences_of_a_compiler_are_not_passed_on() -> None:
    failed = ActionFailed(*V, outcome="error", reason="\x1b[2Jgone\x07")
    assert told([failed], io.StringIO()) == (
        "aot_build: FAILED scale [BLOCK=128, T=float] for cpu: error: ?[2Jgone?\n"
    )


def test_an_ascii_stream_takes_what_a_compiler_quotes() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Console(stream).emit(Notice("no \u2018T\u2019 \udc80"))
    assert raw.getvalue() == b"aot_build: no \\u2018T\\u2019 ?\n"


def test_a_reader_who_went_away_does_not_end_the_build() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    # What could not be written is still in the stream when that is closed.
    with pytest.raises(BrokenPipeError), open(writing, "w") as stream:
        console = Console(stream)
        for _ in range(3):
            console.emit(Notice("hello"))


def test_a_line_now_and_then_while_nothing_ends() -> None:
    """Rarer and rarer, and they say what everybody waits for."""
    events: list[Event | float] = [PlanReady(2, 0, 2, workers=2), ActionStarted(*V), 1.0]
    events.append(ActionStarted(*W))
    for _ in range(300):
        events += [1.0, Notice("")]  # A notice of no line: any event is an occasion.
    lines = told(events, io.StringIO()).splitlines()[1:]
    which = "scale [BLOCK=128, T=float] for cpu has run for"
    assert lines[:3] == [
        f"aot_build: 0/2 done, 2 running, 5 s; {which} 5 s",
        f"aot_build: 0/2 done, 2 running, 15 s; {which} 15 s",
        f"aot_build: 0/2 done, 2 running, 35 s; {which} 35 s",
    ]
    assert len(lines) == 7 and lines[-1].endswith("4 min 15 s")


def test_the_time_that_is_left() -> None:
    events: list[Event | float] = [
        PlanReady(4, 0, 4, workers=2, expected_s=40.0),
        ActionStarted(*V, expected_s=10.0, worker=0),
        ActionStarted(*W, expected_s=20.0, worker=1),
        5.0,
        Notice(""),
        5.0,
        ActionFinished(*V, seconds=10.0, done=1, total=4, worker=0),
        Notice(""),
    ]
    lines = told(events, io.StringIO()).splitlines()[1:]
    # 40 s of work, 5 s of each of two done: 30 s on two workers; the longest has 15 s to go.
    assert lines[0].startswith("aot_build: 0/4 done, 2 running, 5 s, about 15 s left; scale")
    assert lines[1] == "aot_build: 1/4 done, 1 running, 10 s, about 10 s left"


def test_what_rounding_leaves_over_is_no_time_that_is_left() -> None:
    events: list[Event | float] = [
        PlanReady(2, 0, 2, workers=2, expected_s=1.3),
        ActionStarted(*V, expected_s=1.299, worker=0),
        ActionFinished(*V, seconds=1.0, done=1, total=2, worker=0),
        ActionStarted(*W, worker=0),
        11.0,
        Notice(""),
    ]
    lines = told(events, io.StringIO()).splitlines()[1:]
    assert lines[-1] == "aot_build: 1/2 done, 1 running, 11 s"


def test_one_broken_header_is_told_three_times() -> None:
    failed = [ActionFailed("k", f"N={n}", "cpu", "error", "no factor.h") for n in range(400)]
    assert told(failed, io.StringIO()).count("FAILED") == 3
    assert told(failed, io.StringIO(), verbose=True).count("FAILED") == 400
    other = [ActionFailed("k", "N=1", "cpu", "error", "no scale.h")]
    assert told([*failed, *other], io.StringIO()).count("FAILED") == 4


def test_what_serves_variants_says_so() -> None:
    done = ActionFinished(*V, seconds=1.0, done=1, total=6, stage="object")
    lines = told([PlanReady(4, 0, 4, stages=2), done], io.StringIO(), verbose=True).splitlines()
    assert lines[0] == "aot_build: 4 variants: 0 hits, 4 to build in 6 actions"
    assert lines[1].startswith("aot_build: [1/6] scale [BLOCK=128, T=float] for cpu (object) in")


def test_what_an_order_cost() -> None:
    ran = Summary(2, 0, 2, wall_s=50.0, cpu_s=80.1, critical_path_s=3.1, workers=2,
                  makespan_s=41.2, lower_bound_s=40.05)  # fmt: skip
    assert told([BuildFinished(ran)], io.StringIO()) == (
        "aot_build: 2 variants, 0 hits, 2 built in 50 s\n"
        "aot_build: makespan 41 s on 2 workers, 1.03 x the lower bound "
        "(critical path 3.10 s, CPU 1 min 20 s)\n"
    )


def test_quiet_tells_failures_and_notices_alone() -> None:
    stream = io.StringIO()
    console = Console(stream, Verbosity.QUIET, progress=False)
    for event in BUILD:
        if not isinstance(event, float):
            console.emit(event)
    assert stream.getvalue().splitlines() == LINES.splitlines()[3:5]


def test_a_closed_console_says_nothing() -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.close()
    console.emit(Notice("late"))
    console.close()
    assert not stream.getvalue()


def test_time_passes_without_events() -> None:
    """The thread that brings events is gone: so is the one that tells of time."""
    stream, clock = io.StringIO(), Clock()

    class Impatient(Console):
        BEAT_S = 0.01

    console = Impatient(stream, clock=clock)

    def told_of(text: str) -> bool:
        until = time.monotonic() + 20
        while text not in stream.getvalue() and time.monotonic() < until:
            time.sleep(0.005)
        return text in stream.getvalue()

    def bring() -> None:
        console.emit(PlanReady(1, 0, 1))
        console.emit(ActionStarted(*V))
        clock.now += 6.0
        assert told_of("0/1 done, 1 running, 6 s")

    before = threading.active_count()
    bringer = threading.Thread(target=bring)
    bringer.start()
    bringer.join(30)
    until = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.005)
    assert threading.active_count() <= before
    clock.now += 60.0
    assert stream.getvalue().count("running") == 1


def test_the_thread_that_tells_of_time_takes_no_signals() -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    seen: list[set[int]] = []
    heart = Heartbeat(lambda: seen.append(set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))), 0.01)
    heart.start()
    until = time.monotonic() + 20
    while not seen and time.monotonic() < until:
        time.sleep(0.005)
    heart.stop()
    assert {signal.SIGINT, signal.SIGTERM} <= seen[0]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
