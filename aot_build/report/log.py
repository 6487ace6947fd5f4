"""The event log: `build/aot/events.jsonl`, one JSON object a line.

    {"time": 1763740131.204518, "event": "ActionStarted", "kernel": "scale", ...}

The events are those of events.py, as on the wire, with the Unix time at which each was told. The
first is BuildStarted, the last BuildFinished or BuildError. After a `kill -9` the last may be
missing, or be a part of a line; all lines before it are whole, as each is one write.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from json import loads
from pathlib import Path

from aot_build import snapshot
from aot_build.events import Event, decode

NAME = "events.jsonl"
TRIES = 8
"""Builds that start at the same moment in one checkout take the name from each other."""


def path_of(project: str | os.PathLike[str]) -> Path:
    """Where the log of a project's last build lies."""
    return Path(project, *snapshot.FOLDER, NAME)


class EventLog:
    """Appends events to a file for as long as that takes them: a full disk ends the log alone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.problem = ""
        """Why the log is not complete; empty where it is."""

    @classmethod
    def of_build(cls, project: str) -> "EventLog | None":
        """The log of a build that begins; None where none can be kept.

        It is a new file under the old name: a build in the same checkout goes on with the file
        that it opened, and so does whoever reads that.
        """
        path = path_of(project)
        for _ in range(TRIES):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                return cls(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666))
        return None

    @classmethod
    def at(cls, path: str) -> "EventLog":
        """A log at a path that somebody named; a device or a pipe will do. Raises OSError."""
        return cls(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666))

    def write(self, line: str) -> None:
        """Append an event that `encode` made a line of."""
        if self.problem:
            return
        text = f'{{"time": {time.time():.6f}, {line[1:]}\n'.encode()
        try:
            written = os.write(self._descriptor, text)
            while written < len(text):
                written += os.write(self._descriptor, text[written:])
        except OSError as error:
            self.problem = str(error)

    def close(self) -> None:
        """Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_log(path: str | os.PathLike[str]) -> Iterator[tuple[float, Event]]:
    """Unix times and events of a log. Raises OSError.

    Passes over what is no event: the rest of a line that was being written, events of a newer
    version.
    """
    with open(path, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                found = float(loads(line)["time"]), decode(line)
            except (ValueError, TypeError, KeyError):
                continue
            yield found
