"""What the events of a build are kept as beyond its own log: copies and traces, where asked for."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from aot_build.errors import AotBuildError, EnvironmentProblem, InputError
from aot_build.events import BuildError, Emit, Event, Notice, encode
from aot_build.report.console import Console
from aot_build.report.log import EventLog, path_of, read_log
from aot_build.report.trace import trace


class Keepsakes:
    """What a build's events are kept as, at paths that the user named; None: not at all."""

    def __init__(self, log: str | None, traced: str | None) -> None:
        # Before the build: a path that cannot be written is found out in time.
        self._log = EventLog.at(log) if log else None
        self._trace = Path(traced) if traced else None
        if self._trace is not None:
            self._trace.write_bytes(b"")
        self._events: list[tuple[float, Event]] = []
        self._closed = False
        # After an interrupt the last events still arrive.
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        """Keep one event, until all is closed."""
        with self._lock:
            if not self._closed:
                self._keep(event)

    def _keep(self, event: Event) -> None:
        if self._log is not None:
            self._log.write(encode(event))
        if self._trace is not None:
            self._events.append((time.time(), event))

    def close(self) -> Iterator[str]:
        """Finish; what went wrong, in words."""
        with self._lock:
            self._closed = True
        if self._log is not None:
            self._log.close()
            if self._log.problem:
                yield f"the event log is not complete: {self._log.problem}"
        if self._trace is not None:
            try:
                write_trace(trace(self._events), self._trace)
            except OSError as error:
                yield f"the trace cannot be written: {error}"


@contextlib.contextmanager
def listening(
    console: Console, log: str | None = None, traced: str | None = None
) -> Iterator[Emit]:
    """Show and keep the events that are emitted inside; the terminal is left as it was found."""
    try:
        keepsakes = Keepsakes(log, traced)
    except OSError as error:
        raise EnvironmentProblem("a file for events cannot be written", {"error": error}) from error

    def emit(event: Event) -> None:
        keepsakes.emit(event)
        console.emit(event)

    try:
        yield emit
    except AotBuildError as error:
        keepsakes.emit(BuildError.of(error))
        raise
    finally:
        for problem in keepsakes.close():
            console.emit(Notice(problem))
        console.close()


def write_trace(traced: dict[str, object], path: Path) -> None:
    """Write a trace as JSON. Raises OSError."""
    path.write_text(json.dumps(traced) + "\n", encoding="utf-8")


def trace_of(project: str | os.PathLike[str]) -> dict[str, object]:
    """The trace of a project's last build. Raises InputError where none left a log."""
    log = path_of(project)
    try:
        return trace(read_log(log))
    except FileNotFoundError:
        raise InputError("no build left a log here", {"file": log}, "build first") from None
