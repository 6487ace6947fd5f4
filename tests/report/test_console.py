"""The exact lines that a person sees."""

import io
import os
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
    console = Console(stream, verbose, clock)
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
aot_build: retrying gemm for cuda:sm_90a: memory (attempt 1)
aot_build: 2/4 built, 1 running, 14 s
aot_build: FAILED gemm for cuda:sm_90a: timeout: ran for 1,200 s
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
    failed = "aot_build: FAILED gemm for cuda:sm_90a: timeout: ran for 1,200 s"
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
    events: list[Event | float] = [PlanReady(100, 0, 100)]
    for number in range(100):
        variant = ("k", f"N={number}", "cpu")
        done = ActionFinished(*variant, seconds=0.5, done=number + 1, total=100)
        events += [ActionStarted("k", "N=last", "cpu"), ActionStarted(*variant), 0.5, done]
    lines = told(events, io.StringIO()).splitlines()
    assert len(lines) == 11
    assert lines[1] == "aot_build: 10/100 built, 1 running, 5 s"
    assert lines[10] == "aot_build: 100/100 built, 1 running, 50 s"


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
