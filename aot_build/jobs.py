"""Call a function many times, in processes that cannot hurt each other: the engine of the build,
with the build's own limits, for whoever has jobs of another kind.

Arguments and results travel as msgpack: None, bool, int (64 bits), float, str, bytes, lists and
dicts of those. A tuple arrives as a list. Nothing is pickled.
"""

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aot_build import process
from aot_build.core.result import Failure
from aot_build.errors import InputError
from aot_build.execute import calls
from aot_build.execute.admission import Admission
from aot_build.execute.limits import worker_slots
from aot_build.execute.pool import LocalPool
from aot_build.execute.protocol import Job, JobEnd
from aot_build.execute.scheduler import Limits, Scheduler, Task
from aot_build.settings import load_bounds

LOG_BYTES = 1 << 16
LABEL_LENGTH = 120
PRELOAD = (calls.__name__, __name__)
"""The second for scripts, which workers load: they import this very module."""
_lock = threading.Lock()
_adopting = 0
"""How many calls are under way, in threads of this process: it is one subreaper for all."""
_adopted_before = False


@dataclass(frozen=True, slots=True)
class JobResult:
    """What came of one job.

    `outcome` is ok (`value` is what the worker returned), error (it raised; `reason` is the
    exception), crashed, timeout, memory, nothing or lost; `seconds` is the wall time of the last
    attempt.
    """

    job: Any
    value: Any
    outcome: str
    reason: str
    seconds: float
    log: str
    """The end of what the last attempt printed, tracebacks included: at most 64 KiB."""
    label: str = ""
    """The job's `name` where it has one, else its parameters: `BLOCK=128, dtype=fp16`."""
    attempts: int = 1
    peak_bytes: int = 0
    """The most memory that it was seen to occupy, with its children; 0 where it was too short."""


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

    The limits are those of a build: what is None is taken from the environment (`AOT_BUILD_JOBS`,
    `MAX_JOBS`, `AOT_BUILD_TIMEOUT`, `AOT_BUILD_RETRIES`, `AOT_BUILD_MEM_PER_WORKER`), else from
    `[tool.aot-build]` of the pyproject.toml at or above the current folder, else as many run at
    once as there are CPUs, without a time limit (seconds), and an abnormal end (crash, time-out,
    out of memory) is tried again twice. An exception is not; neither costs another job. As many
    start as memory allows. Raises InputError for a worker that cannot be imported elsewhere, and
    for wrong settings.
    """
    return run_jobs(worker, jobs, max_workers, timeout, retries)


def run_jobs(
    worker: Callable[..., Any] | str,
    jobs: Sequence[Any],
    max_workers: int | None = None,
    timeout: float | None = None,
    retries: int | None = None,
    preload: Sequence[str] = (),
) -> list[JobResult]:
    """The same, in processes that find modules imported; `preload` names such as start no thread.

    A job that comes first waits for their imports.
    """
    calls.refuse_recursion()
    target = calls.locate(worker)
    jobs = list(jobs)
    if max_workers is not None and max_workers < 1:
        raise InputError("max_workers is less than 1", {"max_workers": max_workers})
    bounds = load_bounds(_project_above(Path.cwd()), os.environ)
    slots = min(worker_slots(max_workers or bounds.jobs), len(jobs) or 1)
    with (
        tempfile.TemporaryDirectory(prefix="aot-build-") as folder,
        _adopting_orphans(),
        LocalPool(slots, preload=(*PRELOAD, *preload), log=Path(folder, "forkserver.log")) as pool,
    ):
        tasks = [
            _JobTask(
                number,
                job,
                target,
                Path(folder, f"{number}.log"),
                bounds.timeout if timeout is None else timeout,
                bounds.retries if retries is None else retries,
            )
            for number, job in enumerate(jobs)
        ]
        limits = Limits(admission=Admission(guess=bounds.memory_per_worker))
        Scheduler(pool, limits).run(tasks)
        return [task.result for task in tasks]


class _JobTask(Task):
    """One call. Its id is the index of its job."""

    def __init__(
        self,
        number: int,
        job: Any,
        target: calls.Target,
        log: Path,
        timeout: float | None,
        retries: int,
    ) -> None:
        super().__init__(_label(job), family=target.name, retries=retries)
        self._number, self._job, self._target = number, job, target
        self._log, self._timeout = log, timeout
        self.result = JobResult(job, None, "skipped", "", 0.0, "", self.label)

    def begin(self, slot: int) -> Job | Failure:
        try:
            payload = calls.encode(self._job, self._target)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            self.result = JobResult(self._job, None, "error", reason, 0.0, "", self.label)
            return Failure("error", reason)
        return Job(
            id=self._number,
            entry=calls.ENTRY,
            payload=payload,
            label=self.label,
            log=str(self._log),
            timeout=self._timeout,
        )

    def begun(self) -> None:
        """Nobody is told."""

    def end(self, end: JobEnd) -> Failure | None:
        value, outcome, reason = None, end.outcome, end.reason
        if outcome == "ok":
            try:
                value = calls.decode(end.payload)
            except Exception as error:
                outcome, reason = "error", f"{type(error).__name__}: {error}"
        self.result = JobResult(
            self._job, value, outcome, reason, end.seconds, _tail(self._log), self.label,
            self.attempts, end.peak_bytes,
        )  # fmt: skip
        self._log.unlink(missing_ok=True)
        return None if outcome == "ok" else Failure(outcome, reason)

    def retry(self, failure: Failure) -> None:
        """Nobody is told: the result counts the attempts."""

    def settled(self, failure: Failure | None) -> Iterable[Task]:
        return ()


def _project_above(folder: Path) -> Path | None:
    """The nearest folder, this one or one above it, that has a pyproject.toml."""
    folders = (folder, *folder.parents)
    return next((each for each in folders if (each / "pyproject.toml").is_file()), None)


def _label(job: Any) -> str:
    """What a job is called where it is spoken of."""
    try:
        text = _described(job)
    except Exception:
        # It will be told that it cannot travel; the others can.
        text = type(job).__name__
    return text if len(text) <= LABEL_LENGTH else text[: LABEL_LENGTH - 3] + "..."


def _described(job: Any) -> str:
    if isinstance(job, Mapping):
        name = job.get("name")
        return str(name) if name else ", ".join(f"{k}={v}" for k, v in job.items())
    return ", ".join(map(str, job)) if isinstance(job, (list, tuple)) else str(job)


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
    global _adopting, _adopted_before
    with _lock:
        if not _adopting:
            _adopted_before = process.is_subreaper()
            process.become_subreaper()
        _adopting += 1
    try:
        yield
    finally:
        with _lock:
            _adopting -= 1
            if not _adopting:
                process.become_subreaper(_adopted_before)
