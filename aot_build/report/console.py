"""Progress for a person or a log file: whole lines, few of them, never a cursor movement."""

import os
import threading
import time
from collections.abc import Callable
from typing import TextIO

from aot_build.events import BuildFinished, Event, PlanReady
from aot_build.report.heartbeat import Heartbeat
from aot_build.report.narration import Line, Narration, Verbosity
from aot_build.report.progress import Progress
from aot_build.report.wording import elapsed, encodable

INTERVAL_S = 5.0
"""A progress line at most this often: pip and CI keep every one."""
LONGEST_S = 60.0
"""While nothing ends, lines become as rare as this: enough to show CI that somebody is alive."""
RED = "\x1b[31m"
RESET = "\x1b[0m"


class Console:
    """Prints events to a text stream; without `progress`, none of how far the build is.

    `clock` gives monotonic seconds. Colour marks failures alone, on a terminal, unless NO_COLOR is
    set to anything but nothing (https://no-color.org). A stream that takes no more is left alone:
    a reader who went away must not end the build.
    """

    BEAT_S = 1.0

    def __init__(
        self,
        stream: TextIO | None,
        verbosity: Verbosity = Verbosity.NORMAL,
        clock: Callable[[], float] = time.monotonic,
        *,
        progress: bool = True,
    ) -> None:
        self._stream = stream
        self._narration = Narration(verbosity)
        self._clock = clock
        self._progress = Progress(clock)
        self._shows_progress = progress
        self._colour = stream is not None and stream.isatty() and not os.environ.get("NO_COLOR")
        self._told = clock()
        self._told_done = 0
        self._interval = INTERVAL_S
        self._closed = False
        # Events come from one thread, heartbeats from another, and `close` from whoever waits.
        self._lock = threading.Lock()
        self._heartbeat = Heartbeat(self._beat, self.BEAT_S)

    def emit(self, event: Event) -> None:
        """Take in one event; what no line is made of is passed over."""
        with self._lock:
            if self._closed:
                return
            self._take(event)

    def close(self) -> None:
        """Show nothing from here on. Idempotent."""
        self._heartbeat.stop()
        with self._lock:
            if not self._closed:
                self._closed = True
                self._leave()

    def _take(self, event: Event) -> None:
        self._progress.take(event)
        if isinstance(event, BuildFinished):
            self._heartbeat.stop()
            self._leave()
        for line in self._narration.of(event):
            self._tell(line)
        if isinstance(event, PlanReady) and event.to_run and self._shows_progress:
            self._heartbeat.start()
        if not isinstance(event, BuildFinished):
            self._show()

    def _beat(self) -> None:
        with self._lock:
            if not self._closed:
                self._show()

    def _show(self) -> None:
        """Tell how far the build is, where that is due."""
        progress, now = self._progress, self._clock()
        if now - self._told < INTERVAL_S or not self._shows_progress:
            return
        if not progress.running or not progress.total:
            return
        if progress.done != self._told_done:
            self._interval = INTERVAL_S
        if now - self._told < self._interval:
            return
        text = str(progress)
        if progress.done == self._told_done:
            self._interval = min(2 * self._interval, LONGEST_S)
            oldest = next(iter(progress.running))
            text += f"; {oldest} has run for {elapsed(now - oldest.since)}"
        self._told_done = progress.done
        self._tell(Line(text))

    def _tell(self, line: Line) -> None:
        self._told = self._clock()
        text = f"aot_build: {line.text}"
        if line.failure and self._colour:
            text = f"{RED}{text}{RESET}"
        if self._stream is None:
            return
        try:
            self._stream.write(encodable(text, self._stream) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None

    def _leave(self) -> None:
        """Take away whatever is shown that is no line."""
