"""Runs jobs on this machine, each in a process forked from one preloaded forkserver."""

import os
import select
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aot_build.errors import InternalError, Interrupted
from aot_build.execute import wire
from aot_build.execute.protocol import Job, JobEnd
from aot_build.execute.server import Server
from aot_build.execute.verdict import verdict

RESTARTS = 3
"""How often a forkserver that died is replaced, in a row: where no job ends properly between two
deaths, what kills it would do so for ever."""
_PIECE = 1 << 20


@dataclass(slots=True)
class _Running:
    job: Job
    pipe: int
    started: float
    answer: bytearray = field(default_factory=bytearray)


class LocalPool:
    """An Executor of `slots` processes. Nothing starts before the first job.

    `env` is the whole environment of the workers (None: this process's); `preload` names modules
    that are known to start no thread. When one of `stop_fds` (pidfds, or ends of pipes) is
    readable, `wait` closes the pool and raises Interrupted. `log` is the file for what the
    forkserver itself prints.

    The thread that submits first must live as long as the pool: the kernel ends the forkserver
    with it. Where the owner called `process.become_subreaper`, the pool also finds what is left
    over when its forkserver is killed; such a process must wait for its own children by pid.
    """

    def __init__(
        self,
        slots: int,
        *,
        env: Mapping[str, str] | None = None,
        preload: Sequence[str] = (),
        stop_fds: Sequence[int] = (),
        log: str | os.PathLike[str] = os.devnull,
    ) -> None:
        if slots < 1:
            raise InternalError("a pool needs at least one slot", {"slots": slots})
        self.slots = slots
        self.refused: dict[str, str] = {}
        """Modules that were not preloaded, and why; known some time after `preload`."""
        self._env, self._log = env, os.path.abspath(log)
        self._trusted = tuple(preload)
        self._imports: list[wire.Import] = []
        """Asked for, and not sent yet: whatever is to run first need not wait for an import."""
        self._settled: set[str] = set()
        self._sizes: dict[int, int] = {}
        self._stop_fds = tuple(stop_fds)
        self._server: Server | None = None
        self._starts_left = 1 + RESTARTS
        self._last_words = ""
        self._queue: deque[Job] = deque()
        self._running: dict[int, _Running] = {}
        self._ids: dict[int, int] = {}
        """Answer pipe -> id of its job."""
        self._ends: list[JobEnd] = []
        self._poll = select.poll()
        for descriptor in self._stop_fds:
            self._poll.register(descriptor, select.POLLIN)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    @property
    def server_pid(self) -> int | None:
        """Process id of the forkserver, None where none runs."""
        return self._server.pid if self._server else None

    def start(self) -> None:
        """Start the forkserver now, for jobs that will come."""
        self._serving()

    def submit(self, job: Job) -> None:
        """Queue a job: it starts at once where a slot is free."""
        if self._closed:
            raise InternalError("the pool is closed", {"job": job.label or job.id})
        self._queue.append(job)
        self._fill()

    def wait(self, timeout: float | None = None, wake: int | None = None) -> list[JobEnd]:
        """The jobs that ended since the last call; see Executor."""
        if wake is not None:
            self._poll.register(wake, select.POLLIN)
        try:
            return self._wait(timeout, wake)
        finally:
            if wake is not None:
                self._poll.unregister(wake)

    def _wait(self, timeout: float | None, wake: int | None) -> list[JobEnd]:
        self._send_imports()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            busy = (bool(self._running) or wake is not None) and not self._ends
            if not busy:
                woken = self._turn(0.0)
            elif deadline is None:
                woken = self._turn(None)
            else:
                woken = self._turn(max(0.0, deadline - time.monotonic()))
            over = deadline is not None and time.monotonic() >= deadline
            idle = not self._running and wake is None
            if self._ends or over or idle or wake in woken:
                ends, self._ends = self._ends, []
                return ends

    def preload(self, modules: Sequence[str], *, trusted: bool = False) -> None:
        """Have modules tried, and imported for all later jobs if they start no thread.

        Those that are trusted are not tried first. Returns at once; what is not imported is told
        in `refused`. An import of others is lost when the forkserver has to be replaced.
        """
        self._imports.append(wire.Import(tuple(modules), trusted=trusted))

    def settled(self, modules: Sequence[str]) -> bool:
        """Whether what `preload` was asked for is imported, or given up."""
        # One that died on it is replaced here, as those who wait for an import submit no job.
        return self._settled.issuperset(modules) or self._serving() is None

    def sizes(self) -> Mapping[int, int]:
        """Bytes that running jobs occupy; see Executor."""
        return self._sizes

    def close(self) -> None:
        """Kill what runs, wait until nothing is left. Idempotent."""
        self._closed = True
        server, self._server = self._server, None
        if server is not None:
            self._poll.unregister(server)
            server.stop()
        for run in list(self._running.values()):
            self._forget(run)
        self._queue.clear()
        self._ends.clear()

    # One turn: wait for whatever comes first, take all of it, start what can be started.

    def _turn(self, seconds: float | None) -> list[int]:
        """The descriptors that were readable."""
        ready = [fd for fd, _ in self._poll.poll(None if seconds is None else seconds * 1000)]
        if set(ready) & set(self._stop_fds):
            self.close()
            raise Interrupted("the build was stopped", hint="what had finished is kept")
        for descriptor in ready:
            if descriptor in self._ids:
                self._read(self._running[self._ids[descriptor]])
        if self._server is not None and self._server.fileno() in ready:
            self._hear(self._server)
        self._fill()
        return ready

    def _hear(self, server: Server) -> None:
        try:
            for report in server.receive():
                if isinstance(report, wire.Ended):
                    self._finish(report)
                elif isinstance(report, wire.Sampled):
                    if report.id in self._running:
                        self._sizes[report.id] = report.bytes
                else:
                    self.refused |= report.refused
                    self._settled.update(report.modules)
        except EOFError:
            self._lose()

    def _fill(self) -> None:
        while self._queue and len(self._running) < self.slots:
            self._send(self._queue.popleft())

    def _send(self, job: Job) -> None:
        server = self._serving()
        if server is None:
            self._ends.append(JobEnd(job.id, "lost", reason=self._last_words))
            return
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        self._running[job.id] = _Running(job, reader, time.monotonic())
        self._ids[reader] = job.id
        self._poll.register(reader, select.POLLIN)
        try:
            server.send(wire.Run(job), writer)
        except OSError:
            self._lose()
        finally:
            os.close(writer)

    def _ask(self, request: wire.Import) -> None:
        if self._server is not None:
            try:
                self._server.send(request)
            except OSError:
                self._lose()

    def _serving(self) -> Server | None:
        """The forkserver; None where it died too often."""
        if self._server is None and self._starts_left:
            self._starts_left -= 1
            self._server = Server(self._env, self._log)
            self._poll.register(self._server, select.POLLIN)
            self._ask(wire.Import(self._trusted, trusted=True))
        return self._server

    def _send_imports(self) -> None:
        while self._imports and self._serving() is not None:
            request = self._imports.pop(0)
            if request.trusted:
                # For a forkserver that may have to replace this one.
                self._trusted += request.modules
            self._ask(request)

    def _lose(self) -> None:
        """The forkserver died, and with it every worker."""
        server, self._server = self._server, None
        if server is None:
            return
        self._poll.unregister(server)
        self._last_words = server.bury()
        for run in list(self._running.values()):
            self._forget(run)
            seconds = time.monotonic() - run.started
            self._ends.append(JobEnd(run.job.id, "lost", reason=self._last_words, seconds=seconds))

    def _read(self, run: _Running) -> None:
        """Take what is in the pipe. Its end says nothing: only the forkserver knows the end."""
        try:
            while piece := os.read(run.pipe, _PIECE):
                run.answer += piece
        except BlockingIOError:
            return
        self._poll.unregister(run.pipe)
        del self._ids[run.pipe]

    def _forget(self, run: _Running) -> None:
        del self._running[run.job.id]
        self._sizes.pop(run.job.id, None)
        if self._ids.pop(run.pipe, None) is not None:
            self._poll.unregister(run.pipe)
        os.close(run.pipe)

    def _finish(self, ended: wire.Ended) -> None:
        run = self._running[ended.id]
        self._starts_left = RESTARTS
        if run.pipe in self._ids:
            self._read(run)
        self._forget(run)
        self._ends.append(verdict(run.job, ended, bytes(run.answer)))
