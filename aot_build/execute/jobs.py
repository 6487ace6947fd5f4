"""Call a function many times, in processes that cannot hurt each other: the public way to the pool.

Arguments and results travel as msgpack: None, bool, int (64 bits), float, str, bytes, lists and
dicts of those. A tuple arrives as a list. Nothing is pickled.
"""

import contextlib
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aot_build import process
from aot_build.core.result import Failure
from aot_build.errors import InputError
from aot_build.execute import calls
from aot_build.execute.limits import cpu_slots
from aot_build.execute.pool import LocalPool
from aot_build.execute.protocol import Job, JobEnd

RETRIES = 2
LOG_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class JobResult:
    """What came of one job.

    `outcome` is ok (`value` is what the worker returned), error (it raised; `reason` is the
    exception), crashed, timeout, memory or lost; `seconds` is the wall time of the last attempt.
    """

    job: Any
    value: Any
    outcome: str
    reason: str
    seconds: float
    log: str
    """The end of what the last attempt printed, tracebacks included: at most 64 KiB."""


def run_jobs_parallel(
    worker: Callable[..., Any] | str,
    jobs: Sequence[Any],
    *,
    max_workers: int | None = None,
    timeout: float | None = None,
    retries: int | None = None,
) -> list[JobResult]:
    """Call `worker` once for each job, each in a process of its own; results in the jobs' order.

    `worker` is a function of a module, or "module:function". A job that is a dict is passed as
    keyword arguments, a list or tuple as positional ones, anything else as the only argument.
    At most `max_workers` run at once (None: as many as there are CPUs); `timeout` is in seconds.
    An abnormal end (crash, time-out, out of memory) is tried again `retries` times (None: 2), an
    exception is not; neither costs another job. Raises InputError for a worker that cannot be
    imported elsewhere.
    """
    calls.refuse_recursion()
    target = calls.locate(worker)
    jobs = list(jobs)
    if max_workers is not None and max_workers < 1:
        raise InputError("max_workers is less than 1", {"max_workers": max_workers})
    slots = min(max_workers or cpu_slots(), len(jobs) or 1)
    allowed = RETRIES if retries is None else retries
    with (
        tempfile.TemporaryDirectory(prefix="aot-build-") as folder,
        _adopting_orphans(),
        LocalPool(slots, preload=(calls.__name__,), log=Path(folder, "forkserver.log")) as pool,
    ):
        return _Batch(pool, Path(folder), timeout, allowed).run(jobs, target)


class _Batch:
    """The jobs of one call. An id is the index of a job."""

    def __init__(self, pool: LocalPool, folder: Path, timeout: float | None, retries: int) -> None:
        self._pool, self._folder = pool, folder
        self._timeout, self._retries = timeout, retries
        self._attempts: dict[int, int] = {}
        self._results: dict[int, JobResult] = {}

    def run(self, jobs: Sequence[Any], target: calls.Target) -> list[JobResult]:
        waiting = deque(enumerate(jobs))
        while len(self._results) < len(jobs):
            while waiting and self._pool.free_slots():
                index, job = waiting.popleft()
                try:
                    payload = calls.encode(job, target)
                except Exception as error:
                    reason = f"{type(error).__name__}: {error}"
                    self._results[index] = JobResult(job, None, "error", reason, 0.0, "")
                else:
                    self._submit(index, payload)
            for end in self._pool.wait():
                self._take(end, jobs[end.id], target)
        return [self._results[index] for index in range(len(jobs))]

    def _submit(self, index: int, payload: bytes) -> None:
        self._attempts[index] = self._attempts.get(index, 0) + 1
        job = Job(
            id=index,
            entry=calls.ENTRY,
            payload=payload,
            log=str(self._log(index)),
            timeout=self._timeout,
        )
        self._pool.submit(job)

    def _take(self, end: JobEnd, job: Any, target: calls.Target) -> None:
        abnormal = Failure(end.outcome, end.reason).abnormal
        if abnormal and self._attempts[end.id] <= self._retries:
            self._submit(end.id, calls.encode(job, target))
            return
        value, outcome, reason = None, end.outcome, end.reason
        if outcome == "ok":
            try:
                value = calls.decode(end.payload)
            except Exception as error:
                outcome, reason = "error", f"{type(error).__name__}: {error}"
        log = _tail(self._log(end.id))
        self._results[end.id] = JobResult(job, value, outcome, reason, end.seconds, log)
        self._log(end.id).unlink(missing_ok=True)

    def _log(self, index: int) -> Path:
        return self._folder / f"{index}.log"


def _tail(path: Path) -> str:
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - LOG_BYTES))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


@contextlib.contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Have what a killed forkserver leaves behind come to this process, for the pool to find."""
    before = process.is_subreaper()
    process.become_subreaper()
    try:
        yield
    finally:
        process.become_subreaper(before)
