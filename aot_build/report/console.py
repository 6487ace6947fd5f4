"""Progress for a person or a log file: whole lines, few of them, never a cursor movement."""

import os
import time
from collections.abc import Callable
from typing import TextIO

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
from aot_build.report.wording import count, duration, elapsed, name, plain

INTERVAL_S = 5.0
"""A progress line at most this often: pip and CI keep every one."""
RED = "\x1b[31m"
RESET = "\x1b[0m"


class Console:
    """Prints events to a text stream; `verbose` adds a line for each finished variant.

    `clock` gives monotonic seconds. Colour marks failures alone, on a terminal, unless NO_COLOR is
    set to anything but nothing (https://no-color.org). A stream that takes no more is left alone:
    a reader who went away must not end the build.
    """

    def __init__(
        self,
        stream: TextIO | None,
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._verbose = verbose
        self._clock = clock
        self._colour = stream is not None and stream.isatty() and not os.environ.get("NO_COLOR")
        self._started = self._told = clock()
        self._running: set[tuple[str, str, str]] = set()
        self._built = 0
        self._failed = 0
        self._total = 0

    def emit(self, event: Event) -> None:
        """Take in one event; what no line is made of is passed over."""
        match event:
            case PlanReady():
                self._plan(event)
            case ActionStarted():
                self._running.add((event.kernel, event.variant, event.target))
            case ActionFinished() | ActionFailed() | ActionRetried():
                self._end(event)
            case Notice(text=text):
                for line in text.splitlines():
                    self._line(plain(line))
            case BuildFinished(summary=summary):
                self._line(verdict(summary))
                return
        self._progress()

    def _plan(self, event: PlanReady) -> None:
        self._total = event.to_run + event.stages
        # With nothing to build the last line says it all.
        if event.to_run:
            variants, hits = count(event.actions, "variant"), count(event.hits, "hit")
            self._line(f"{variants}: {hits}, {event.to_run} to build")

    def _end(self, event: ActionFinished | ActionFailed | ActionRetried) -> None:
        self._running.discard((event.kernel, event.variant, event.target))
        which = name(event.kernel, event.variant, event.target)
        match event:
            case ActionFinished():
                self._built += 1
                if self._verbose:
                    place = f"[{event.done}/{event.total}]"
                    self._line(f"{place} {which} in {duration(event.seconds)}")
            case ActionRetried():
                self._line(f"retrying {which}: {event.outcome} (attempt {event.attempt})")
            case ActionFailed():
                self._failed += 1
                first = plain((event.reason.strip().splitlines() or [""])[0])
                why = f"{event.outcome}: {first}" if first else event.outcome
                self._line(f"FAILED {which}: {why}", colour=RED)

    def _progress(self) -> None:
        now = self._clock()
        if not self._running or now - self._told < INTERVAL_S:
            return
        failed = f", {self._failed} failed" if self._failed else ""
        running, so_far = len(self._running), elapsed(now - self._started)
        self._line(f"{self._built}/{self._total} built{failed}, {running} running, {so_far}")

    def _line(self, text: str, colour: str = "") -> None:
        self._told = self._clock()
        line = f"aot_build: {text}"
        if colour and self._colour:
            line = f"{colour}{line}{RESET}"
        if self._stream is None:
            return
        try:
            self._stream.write(_encodable(line, self._stream) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None


def verdict(summary: Summary) -> str:
    """The last line: `24 variants, 24 hits, 0 built in 0.12 s`."""
    variants, hits = count(summary.actions, "variant"), count(summary.hits, "hit")
    failed = f", {summary.failed} failed" if summary.failed else ""
    return f"{variants}, {hits}, {summary.executed} built{failed} in {duration(summary.wall_s)}"


def _encodable(line: str, stream: TextIO) -> str:
    """A compiler's typographic quotes must not break a stream that is ASCII."""
    encoding = stream.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)
