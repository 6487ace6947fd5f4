"""Live progress on a terminal: lines scroll above a few that are drawn again and again.

Drawn by rich, which is an extra: it is imported when there is something to draw, from the thread
that draws, so that neither a build with nothing to do nor the events wait for it.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, TextIO

from aot_build.events import BuildFinished, Event
from aot_build.report.console import Console
from aot_build.report.narration import Line, Verbosity
from aot_build.report.progress import Running
from aot_build.report.wording import elapsed, encodable

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.console import ConsoleOptions, RenderableType, RenderResult
    from rich.live import Live

DELAY_S = 0.3
"""What is over sooner than this is not drawn."""
ROWS = 12
"""Running actions that are shown, where the terminal is high enough."""
BAR = 30
NARROW = 60
"""Columns below which a bar would take the place of words."""


class LiveConsole(Console):
    """A console that shows what is running; `stream` is a terminal."""

    BEAT_S = 0.125

    def __init__(
        self,
        stream: TextIO,
        verbosity: Verbosity = Verbosity.NORMAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(stream, verbosity, clock)
        self._terminal = stream
        self._live: Live | None = None
        self._broken = False

    def _take(self, event: Event) -> None:
        # While it plans, too: that may take as long as a compile.
        if not isinstance(event, BuildFinished):
            self._heartbeat.start()
        super()._take(event)

    def _beat(self) -> None:
        with self._lock:
            if self._closed or self._heartbeat.stopped:
                return
            if self._progress.elapsed_s >= DELAY_S:
                self._draw()

    def _draw(self) -> None:
        if self._broken:
            return
        try:
            if self._live is None:
                self._live = self._begin()
            self._live.refresh()
        except ImportError:
            self._broken = True
        except (OSError, ValueError):
            self._give_up()

    def _begin(self) -> "Live":
        from rich.console import Console as Terminal
        from rich.live import Live

        class Visible(Terminal):
            def show_cursor(self, show: bool = True) -> bool:
                # Never hidden: after a `kill -9` nobody would bring it back.
                return False

        terminal = Visible(
            file=self._terminal,
            force_terminal=True,
            force_interactive=True,
            no_color=bool(os.environ.get("NO_COLOR")),
        )
        live = Live(
            _Frame(self),
            console=terminal,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        live.start()
        return live

    def _show(self) -> None:
        if self._broken:
            # No rich after all: lines it is.
            super()._show()

    def _tell(self, line: Line) -> None:
        if self._live is None:
            super()._tell(line)
            return
        from rich.text import Text

        text = encodable(f"aot_build: {line.text}", self._terminal)
        try:
            self._live.console.print(
                Text(text, style="red" if line.failure else ""), soft_wrap=True, highlight=False
            )
        except (OSError, ValueError):
            self._give_up()

    def _leave(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            with contextlib.suppress(OSError, ValueError):
                live.stop()

    def _give_up(self) -> None:
        """The terminal takes no more."""
        self._leave()
        self._stream = None
        self._broken = True

    def frame(self, rows: int) -> Iterator[str]:
        """The line of counts, then a line for each running action, `rows` of them at most."""
        running = self._progress.running
        yield str(self._progress)
        shown = [(self._time_of(each), str(each)) for each in islice(running, rows)]
        width = max((len(time_of) for time_of, _ in shown), default=0)
        for time_of, which in shown:
            yield encodable(f"  {time_of:>{width}}  {which}", self._terminal)
        if len(running) > rows:
            yield f"  and {len(running) - rows} more"

    def _time_of(self, running: Running) -> str:
        """`12 s of 40 s`; what it should take is not always known."""
        expected = running.event.expected_s
        of = f" of {elapsed(expected)}" if expected >= 1 else ""
        return elapsed(self._clock() - running.since) + of

    @property
    def share(self) -> tuple[int, int]:
        """How many actions of how many are done."""
        return self._progress.done, self._progress.total


class _Frame:
    """What rich draws: a line of counts with a bar, and a line for each running action."""

    def __init__(self, shown: LiveConsole) -> None:
        self._shown = shown

    def __rich_console__(self, console: "RichConsole", options: "ConsoleOptions") -> "RenderResult":
        rows = max(0, min(ROWS, options.size.height - 3))
        head, *rest = self._shown.frame(rows)
        yield self._head(head, options.max_width)
        for text in rest:
            yield _line(text)

    def _head(self, text: str, width: int) -> "RenderableType":
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        done, total = self._shown.share
        if width < NARROW or not total:
            return _line(text)
        grid = Table.grid(padding=(0, 1))
        grid.add_row(ProgressBar(total, done, width=BAR), _line(text))
        return grid


def _line(text: str) -> "RenderableType":
    from rich.text import Text

    return Text(text, no_wrap=True, overflow="ellipsis")
