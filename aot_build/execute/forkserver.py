"""The process that workers are forked from: preloaded, single-threaded, never running a job.

It leaves nobody behind: it inherits the orphans of its workers and kills every child that it does
not know; when its parent or its socket goes away it kills until it has no children, then exits.
"""

import contextlib
import errno
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from aot_build import process
from aot_build.execute import wire, worker
from aot_build.execute.footprint import tree_bytes
from aot_build.execute.limits import oom_kills
from aot_build.execute.preload import Preloads
from aot_build.execute.protocol import Job

SWEEP_SECONDS = 0.5
SAMPLE_SECONDS = 0.2
SAMPLE_AFTER = 0.5
"""Shorter jobs are not worth looking into."""
SAMPLE_SHARE = 20
"""Looking takes at most one part in this many of the time."""
TOLD_BYTES = 64 << 20
"""Change of a job's memory that is worth a message."""
LOG_BYTES = 1 << 30
"""A job that prints more is ended: nobody reads it, and the disk is others' too."""
LINGER_SECONDS = 2.0
"""How long the end of a job is held back for what it left running, should that not die."""
_CAUGHT = {signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP}


@dataclass(slots=True)
class _Running:
    job: Job
    started: float
    oom_kills: int
    peak_bytes: int = 0
    told_bytes: int = 0
    timed_out: bool = False
    note: str = ""
    """Why we ended it, other than for its time."""

    @property
    def deadline(self) -> float:
        limit = self.job.timeout
        return float("inf") if limit is None or self.timed_out else self.started + limit


class Forkserver:
    """Serves one pool over one socket until that is closed."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._wakeup, self._waker = _catch_signals()
        self._running: dict[int, _Running] = {}
        self._ended: list[wire.Ended] = []
        self._outbox = bytearray()
        """What the pool has not taken yet."""
        self._held_since = 0.0
        self._adopts = process.is_subreaper()
        self._next_sample = 0.0
        self._preloads = Preloads(self._fork)
        self._poll = select.poll()
        for descriptor in (channel.fileno(), self._wakeup):
            self._poll.register(descriptor, select.POLLIN)

    def serve(self) -> None:
        """Work until the pool goes away or SIGTERM arrives, then leave no child."""
        serving = True
        while serving:
            ready = {fd for fd, at in self._poll.poll(self._patience()) if at & ~select.POLLOUT}
            if self._wakeup in ready:
                serving = self._drain_signals()
            self._reap()
            if self._channel.fileno() in ready:
                serving = serving and self._obey()
            self._kill_late()
            try:
                self._report()
                self._post()
                # Last: it takes longest, and whoever hears of an end has work for the slot.
                self._sample()
                self._post()
            except OSError:
                serving = False
        self._kill_all()

    def _patience(self) -> float | None:
        """Milliseconds until something is due; None: until someone calls."""
        now = time.monotonic()
        due = [run.deadline for run in self._running.values()]
        if self._running or self._ended or self._preloads.pid:
            due.append(now + (0.02 if self._ended else SWEEP_SECONDS))
        if any(now - run.started + SAMPLE_SECONDS > SAMPLE_AFTER for run in self._running.values()):
            due.append(max(self._next_sample, now + SAMPLE_SECONDS))
        return max(0.0, min(due) - now) * 1000 + 1 if due else None

    def _drain_signals(self) -> bool:
        """Whether to go on serving."""
        seen = b""
        with contextlib.suppress(BlockingIOError):
            seen = os.read(self._wakeup, 4096)
        return not {signal.SIGTERM, signal.SIGHUP} & set(seen)

    def _obey(self) -> bool:
        """Read one request and carry it out; False where the pool is gone."""
        request, descriptor = wire.receive(self._channel)
        match request:
            case wire.Run(job=job) if descriptor is not None:
                try:
                    self._start(job, descriptor)
                finally:
                    os.close(descriptor)
            case wire.Import():
                self._preloads.ask(request)
        return request is not None

    def _start(self, job: Job, answer: int) -> None:
        parent = os.getpid()
        try:
            pid = self._fork(lambda: worker.serve(job, answer, parent))
        except OSError as error:
            starved = error.errno == errno.ENOMEM
            note = f"no process could be started: {error.strerror}"
            self._end(wire.Ended(job.id, 1, 0.0, 0.0, 0, starved=starved, note=note))
            return
        self._running[pid] = _Running(job, time.monotonic(), oom_kills())

    def _fork(self, child: Callable[[], None]) -> int:
        """Fork a child that shares none of our descriptors. Raises OSError."""
        # A signal must not reach the child while it still has our handlers and our wake-up pipe.
        signal.pthread_sigmask(signal.SIG_BLOCK, _CAUGHT)
        try:
            pid = os.fork()
            if pid:
                return pid
            try:
                self._channel.close()
                self._preloads.close()
                signal.set_wakeup_fd(-1)
                os.close(self._wakeup)
                os.close(self._waker)
                child()
            finally:
                os._exit(1)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _CAUGHT)

    def _reap(self) -> None:
        """Take note of every child that has ended."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            cpu = usage.ru_utime + usage.ru_stime
            if pid in self._running:
                self._end(_ended(self._running.pop(pid), os.waitstatus_to_exitcode(status), cpu))
            elif pid == self._preloads.pid:
                self._preloads.tried()

    def _end(self, ended: wire.Ended) -> None:
        if not self._ended:
            self._held_since = time.monotonic()
        self._ended.append(ended)

    def _strangers(self) -> list[int]:
        """Children that we did not fork: what ended jobs left running."""
        if not self._adopts:
            return []
        known = {*self._running, self._preloads.pid}
        return [pid for pid in process.children(os.getpid()) if pid not in known]

    def _kill_late(self) -> None:
        now = time.monotonic()
        for pid, run in self._running.items():
            if now >= run.deadline:
                run.timed_out = True
                process.kill_tree(pid)
        if self._preloads.pid and now >= self._preloads.deadline:
            process.kill_tree(self._preloads.pid)

    def _sample(self) -> None:
        now = time.monotonic()
        if now < self._next_sample:
            return
        for pid, run in self._running.items():
            if now - run.started >= SAMPLE_AFTER:
                self._measure(pid, run)
        cost = time.monotonic() - now
        self._next_sample = now + max(SAMPLE_SECONDS, cost * SAMPLE_SHARE)

    def _measure(self, pid: int, run: _Running) -> None:
        """How much memory it has, and how much it printed."""
        occupied = tree_bytes(pid)
        run.peak_bytes = max(run.peak_bytes, occupied)
        # What has shrunk is told too: it may grow again, into room that looks free now.
        if abs(occupied - run.told_bytes) > TOLD_BYTES:
            run.told_bytes = occupied
            self._outbox += wire.frame(wire.Sampled(run.job.id, occupied))
        with contextlib.suppress(OSError):
            if run.job.log and not run.note and os.stat(run.job.log).st_size > LOG_BYTES:
                run.note = f"killed: it printed more than {LOG_BYTES >> 30} GiB"
                process.kill_tree(pid)

    def _report(self) -> None:
        """Tell the ends once nothing of those jobs runs any more: it could still write files."""
        strangers = self._strangers()
        for pid in strangers:
            process.kill_tree(pid)
        if not strangers or time.monotonic() - self._held_since > LINGER_SECONDS:
            for ended in self._ended:
                self._outbox += wire.frame(ended)
            self._ended.clear()
        for imported in self._preloads.step():
            self._outbox += wire.frame(imported)

    def _post(self) -> None:
        """Send what the pool takes now. Raises OSError where it is gone.

        The pool does not read while it sends us jobs: were we to wait for it, nobody would read.
        """
        while self._outbox:
            try:
                sent = self._channel.send(self._outbox, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            del self._outbox[:sent]
        wanted = select.POLLIN | (select.POLLOUT if self._outbox else 0)
        self._poll.modify(self._channel.fileno(), wanted)

    def _kill_all(self) -> None:
        """Kill until there is nobody: the dead leave us their children."""
        while True:
            for pid in process.children(os.getpid()):
                process.kill_tree(pid)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(0.005)


def _ended(run: _Running, status: int, cpu_seconds: float) -> wire.Ended:
    return wire.Ended(
        id=run.job.id,
        status=status,
        seconds=time.monotonic() - run.started,
        cpu_seconds=cpu_seconds,
        peak_bytes=run.peak_bytes,
        timed_out=run.timed_out,
        starved=oom_kills() > run.oom_kills,
        note=run.note,
    )


def _catch_signals() -> tuple[int, int]:
    """A pipe that receives the number of each signal caught: the loop waits for all in one poll."""
    wakeup, waker = os.pipe()
    os.set_blocking(wakeup, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    for signum in _CAUGHT:
        signal.signal(signum, _note)
    return wakeup, waker


def _note(signum: int, frame: FrameType | None) -> None:
    """Python writes to the pipe before it calls this."""


def main(channel: int, parent: int) -> None:
    """Serve the pool in process `parent` over the socket with this descriptor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.die_with_parent(signal.SIGTERM, parent)
    process.become_subreaper()
    sys.argv = [sys.argv[0]]
    # A job's prints reach its log line by line, whatever its end.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    gc.disable()
    with socket.socket(fileno=channel) as pool:
        pool.set_inheritable(False)
        Forkserver(pool).serve()
