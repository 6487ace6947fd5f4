"""Call a function many times, in processes that cannot hurt each other: the public way to the pool.

Arguments and results travel as msgpack: None, bool, int (64 bits), float, str, bytes, lists and
dicts of those. A tuple arrives as a list. Nothing is pickled.
"""

import contextlib
import importlib.machinery
import importlib.util
import inspect
import operator
import os
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from aot_build import process
from aot_build.errors import InputError
from aot_build.execute.limits import cpu_slots
from aot_build.execute.pool import LocalPool
from aot_build.execute.protocol import Job, JobEnd
from aot_build.execute.worker import resolve

RETRIES = 2
LOG_BYTES = 1 << 16
_ABNORMAL = {"crashed", "timeout", "memory", "lost"}
_MAIN = "__aot_main__"
"""The caller's script goes by this name in a worker, so that its `__main__` part does not run."""
_loading = False
"""Whether this worker is importing the caller's script."""


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


class _Target(msgspec.Struct, array_like=True, frozen=True):
    """Where a worker finds the function: by module, else in the Python file `source`."""

    module: str
    name: str
    source: str


class _Call(msgspec.Struct, array_like=True, frozen=True):
    target: _Target
    positional: list[Any]
    named: dict[str, Any]


_encoder = msgspec.msgpack.Encoder()
_calls = msgspec.msgpack.Decoder(_Call)
_values = msgspec.msgpack.Decoder()


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
    _refuse_recursion()
    target = _locate(worker)
    jobs = list(jobs)
    if max_workers is not None and max_workers < 1:
        raise InputError("max_workers is less than 1", {"max_workers": max_workers})
    slots = min(max_workers or cpu_slots(), len(jobs) or 1)
    allowed = RETRIES if retries is None else retries
    with (
        tempfile.TemporaryDirectory(prefix="aot-build-") as folder,
        _adopting_orphans(),
        LocalPool(slots, preload=(__name__,), log=Path(folder, "forkserver.log")) as pool,
    ):
        return _Batch(pool, Path(folder), timeout, allowed).run(jobs, target)


class _Batch:
    """The jobs of one call. An id is the index of a job."""

    def __init__(self, pool: LocalPool, folder: Path, timeout: float | None, retries: int) -> None:
        self._pool, self._folder = pool, folder
        self._timeout, self._retries = timeout, retries
        self._attempts: dict[int, int] = {}
        self._results: dict[int, JobResult] = {}

    def run(self, jobs: Sequence[Any], target: _Target) -> list[JobResult]:
        waiting = deque(enumerate(jobs))
        while len(self._results) < len(jobs):
            while waiting and self._pool.free_slots():
                index, job = waiting.popleft()
                try:
                    payload = _encode(job, target)
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
            entry=f"{__name__}:perform",
            payload=payload,
            log=str(self._log(index)),
            timeout=self._timeout,
        )
        self._pool.submit(job)

    def _take(self, end: JobEnd, job: Any, target: _Target) -> None:
        if end.outcome in _ABNORMAL and self._attempts[end.id] <= self._retries:
            self._submit(end.id, _encode(job, target))
            return
        value, outcome, reason = None, end.outcome, end.reason
        if outcome == "ok":
            try:
                value = _values.decode(end.payload)
            except Exception as error:
                outcome, reason = "error", f"{type(error).__name__}: {error}"
        log = _tail(self._log(end.id))
        self._results[end.id] = JobResult(job, value, outcome, reason, end.seconds, log)
        self._log(end.id).unlink(missing_ok=True)

    def _log(self, index: int) -> Path:
        return self._folder / f"{index}.log"


def perform(payload: bytes) -> bytes:
    """The workers' way in: one call to its result."""
    call = _calls.decode(payload)
    function = _find(call.target)
    return _encoder.encode(function(*call.positional, **call.named))


def _find(target: _Target) -> Callable[..., Any]:
    if target.module != "__main__":
        try:
            return resolve(f"{target.module}:{target.name}")
        except ModuleNotFoundError as error:
            # A test runner, for one, loads files under names that nobody else can import.
            named = f"{target.module}.".startswith(f"{error.name}.")
            if not target.source or not named:
                raise
    found: Callable[..., Any] = operator.attrgetter(target.name)(_load(target.source))
    return found


def _encode(job: Any, target: _Target) -> bytes:
    if isinstance(job, Mapping):
        return _encoder.encode(_Call(target, [], dict(job)))
    positional = list(job) if isinstance(job, (list, tuple)) else [job]
    return _encoder.encode(_Call(target, positional, {}))


def _tail(path: Path) -> str:
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - LOG_BYTES))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _locate(worker: Callable[..., Any] | str) -> _Target:
    if isinstance(worker, str):
        module, _, name = worker.partition(":")
        if not module or not name:
            raise _not_importable(worker, 'write "package.module:function"')
        return _Target(module, name, "")
    module, name = getattr(worker, "__module__", ""), getattr(worker, "__qualname__", "")
    if not module or not name or "<" in name or inspect.ismethod(worker):
        raise _not_importable(worker, "define it with `def` at the top level of a module")
    loaded = sys.modules.get(module)
    source = getattr(loaded, "__file__", None) or ""
    spec = getattr(loaded, "__spec__", None)
    if module == "__main__" and spec is not None:
        # Started with -m: it has a name that others can import it by.
        module = spec.name
    if module == "__main__" and not os.path.isfile(source):
        raise _not_importable(worker, "put it into a file: what was typed in has no source")
    return _Target(module, name, os.path.abspath(source) if os.path.isfile(source) else "")


def _not_importable(worker: object, hint: str) -> InputError:
    return InputError("the worker cannot be imported by name", {"worker": repr(worker)}, hint)


def _load(source: str) -> ModuleType:
    """Import the caller's script under another name, whatever its suffix."""
    global _loading
    loader = importlib.machinery.SourceFileLoader(_MAIN, source)
    spec = importlib.util.spec_from_file_location(_MAIN, source, loader=loader)
    assert spec is not None
    module = sys.modules[_MAIN] = importlib.util.module_from_spec(spec)
    _loading = True
    try:
        loader.exec_module(module)
    finally:
        _loading = False
    return module


@contextlib.contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Have what a killed forkserver leaves behind come to this process, for the pool to find."""
    before = process.is_subreaper()
    process.become_subreaper()
    try:
        yield
    finally:
        process.become_subreaper(before)


def _refuse_recursion() -> None:
    if _loading:
        raise InputError(
            "run_jobs_parallel is called while a worker imports the script",
            {"script": sys.modules[_MAIN].__file__},
            "call it under `if __name__ == '__main__':`",
        )
