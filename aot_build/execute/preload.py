"""What the forkserver imports for all later jobs, after a fork of it has tried.

A process with threads must not fork, and nothing takes a thread back: modules that start one, or
that do not import, are found out in a process that is thrown away.
"""

import contextlib
import gc
import importlib
import json
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator

from aot_build import process
from aot_build.execute.wire import Import, Imported
from aot_build.execute.worker import detach

TRIAL_SECONDS = 60.0
PIPE_BYTES = 1 << 20


class Preloads:
    """Requests, one after the other; at most one trial at a time. `fork` is the server's."""

    def __init__(self, fork: Callable[[Callable[[], None]], int]) -> None:
        self._fork = fork
        self._requests: deque[Import] = deque()
        self._reader = -1
        self._verdicts: dict[str, str] = {}
        """Module -> why it is refused, empty where it is fine; of the trials of one request."""
        self._stopped = False
        """Whether the last trial ended early by itself, for the threads that it had."""
        self.pid = 0
        """The trial's process; 0 where none runs."""
        self.deadline = 0.0

    def ask(self, request: Import) -> None:
        """Queue a request."""
        self._requests.append(request)

    def close(self) -> None:
        """Give up the trial's pipe, in a fork of the server."""
        if self._reader >= 0:
            os.close(self._reader)

    def step(self) -> Iterator[Imported]:
        """Do what can be done without waiting; give the requests that are settled."""
        while self._requests and not self.pid:
            request = self._requests[0]
            untried = [name for name in request.modules if name not in self._verdicts]
            if request.trusted or not untried:
                yield self._import(self._requests.popleft())
            else:
                self._try(untried)

    def tried(self) -> None:
        """The trial has ended and is reaped: take its verdicts, and one for what ended it."""
        # All lines fit into the pipe, and a module's own child may still hold the other end.
        with contextlib.suppress(BlockingIOError):
            for line in os.read(self._reader, PIPE_BYTES).splitlines():
                name, reason, threaded = json.loads(line)
                self._verdicts[name] = reason
                self._stopped = threaded
        os.close(self._reader)
        late = time.monotonic() >= self.deadline
        self._reader, self.pid = -1, 0
        untried = [name for name in self._requests[0].modules if name not in self._verdicts]
        if untried and not self._stopped:
            slow, ended = f"takes more than {TRIAL_SECONDS:g} s", "ends the process"
            self._verdicts[untried[0]] = slow if late else ended

    def _try(self, modules: list[str]) -> None:
        server = os.getpid()
        self._stopped = False
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        self.deadline = time.monotonic() + TRIAL_SECONDS
        try:
            self.pid = self._fork(lambda: _trial(modules, writer, server))
        except OSError as error:
            os.close(self._reader)
            self._reader = -1
            self._verdicts.update(dict.fromkeys(modules, str(error)))
        finally:
            os.close(writer)

    def _import(self, request: Import) -> Imported:
        refused = {name: self._verdicts.get(name, "") for name in request.modules}
        for name in request.modules:
            if not refused[name]:
                refused[name] = attempt(name)
        self._verdicts = {}
        # What an import printed must not be printed again by each fork.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        process.flush_c_streams()
        # Frozen, they are not written to by a collection in a fork, and so stay shared with it.
        gc.collect()
        gc.freeze()
        refused = {name: reason for name, reason in refused.items() if reason}
        return Imported(request.modules, refused)


def attempt(module: str) -> str:
    """Import a module; the reason where that fails or leaves a thread, else nothing."""
    try:
        importlib.import_module(module)
    except BaseException as error:
        traceback.print_exc()
        return traceback.format_exception_only(error)[-1].strip()
    count = process.threads()
    return f"starts {count - 1} thread(s)" if count > 1 else ""


def _trial(modules: list[str], writer: int, server: int) -> None:
    """Import in order, a line of JSON for each; stop at the first that leaves a thread."""
    detach(server)
    # The server will write the bytecode: a trial may be killed.
    sys.dont_write_bytecode = True
    for name in modules:
        reason = attempt(name)
        threaded = process.threads() > 1
        os.write(writer, json.dumps([name, reason, threaded]).encode() + b"\n")
        if threaded:
            break
    os._exit(0)
