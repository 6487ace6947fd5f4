"""Decides *when* the misses run: longest first, each once among concurrent builds.

Every miss goes through the same stations: claim its lock, look it up again, run it, check what it
left behind, publish, give the lock back. Nobody waits for a lock while something else could run.
"""

import dataclasses
import os
import shutil
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

import aot_build.runtime
from aot_build.backends.work import ENTRY
from aot_build.core.action import Action
from aot_build.core.artifact import Artifact
from aot_build.core.record import Record
from aot_build.core.result import ActionResult, Failure
from aot_build.core.trace import Trace
from aot_build.core.work import WorkOrder, WorkReport
from aot_build.events import (
    ActionFailed,
    ActionFinished,
    ActionRetried,
    ActionStarted,
    Event,
    Notice,
)
from aot_build.execute.protocol import Job, JobEnd
from aot_build.graph.keys import action_key
from aot_build.graph.rebuilder import Decision
from aot_build.outputs import OutputProblem, collect
from aot_build.store.local import GROUP
from aot_build.toolchains.distributions import UNOWNED
from aot_build.workspace import Workspace

POLL_SECONDS = 0.05
"""How often a lock that another build holds is tried again."""
FLUSH_SECONDS = 0.5

_reports = msgspec.msgpack.Decoder(WorkReport)


@dataclass(slots=True)
class Outcome:
    """What came of one decision: a result or a failure."""

    decision: Decision
    result: ActionResult | None = None
    trace: Trace | None = None
    failure: Failure | None = None
    executed: bool = False


@dataclass(slots=True)
class _Task:
    """A miss on its way through the stations; `followers` are decisions for the same work."""

    id: int
    outcome: Outcome
    expected: float
    followers: list[Outcome] = field(default_factory=list)
    attempts: int = 0
    started_ns: int = 0

    @property
    def action(self) -> Action:
        return self.outcome.decision.action

    @property
    def key(self) -> str:
        return self.outcome.decision.base_key


class Scheduler:
    """Runs decisions of one workspace. `helper` work is announced to nobody."""

    def __init__(self, workspace: Workspace, *, silent: bool = False) -> None:
        self._space = workspace
        self._silent = silent
        self._waiting: deque[_Task] = deque()
        self._busy: deque[_Task] = deque()
        self._running: dict[int, _Task] = {}
        self._unflushed: list[str] = []
        self._flushed_at = 0.0
        self._done = self._total = 0
        self._stopping = False
        self.retried = 0
        self.cpu_seconds = 0.0
        self.longest = 0.0

    def run(
        self, decisions: Sequence[Decision], last: Callable[[Decision], Record | None]
    ) -> list[Outcome]:
        """Run every miss; hits pass through. Outcomes in the order of the decisions.

        `last` gives the record of a decision's last build: its duration orders the queue.
        """
        outcomes = [Outcome(d, d.result, d.trace) for d in decisions]
        tasks = self._tasks([o for o in outcomes if o.result is None], last)
        self._waiting.extend(sorted(tasks, key=lambda task: (-task.expected, task.id)))
        self._total = len(tasks)
        while self._waiting or self._busy or self._running:
            self._fill_slots()
            self._take_ends()
        self._flush(force=True)
        return outcomes

    def _tasks(
        self, misses: list[Outcome], last: Callable[[Decision], Record | None]
    ) -> list[_Task]:
        tasks: dict[str, _Task] = {}
        for outcome in misses:
            key = outcome.decision.base_key
            if key in tasks:
                tasks[key].followers.append(outcome)
            else:
                record = last(outcome.decision)
                tasks[key] = _Task(len(tasks), outcome, record.seconds if record else 0.0)
        known = [task.expected for task in tasks.values() if task.expected]
        typical = statistics.median(known) if known else 0.0
        for task in tasks.values():
            task.expected = task.expected or typical
        return list(tasks.values())

    # Stations

    def _fill_slots(self) -> None:
        if not self._waiting and not self._busy:
            return
        for _ in range(len(self._busy)):
            self._waiting.append(self._busy.popleft())
        while self._waiting and (self._stopping or self._space.executor.free_slots() > 0):
            task = self._waiting.popleft()
            if self._stopping:
                self._end(task, failure=Failure("skipped", "not started: another kernel failed"))
            elif not self._space.locks.acquire(task.key):
                self._busy.append(task)
            else:
                self._claim(task)

    def _claim(self, task: _Task) -> None:
        """The lock is ours; another build may have done the work before it was."""
        again = self._space.rebuilder.probe(task.action)
        if again.result is not None:
            self._space.locks.release(task.key)
            task.outcome.trace = again.trace
            self._end(task, result=again.result)
        else:
            self._submit(task)

    def _submit(self, task: _Task) -> None:
        task.attempts += 1
        task.started_ns = time.time_ns()
        action = task.action
        if task.attempts > 1:
            self._remove_folders(task)
        for folder in self._folders(task):
            os.mkdir(folder)
        out, scratch = self._folders(task)
        order = WorkOrder(
            action=action,
            roots=dict(self._space.roles.roots),
            out_dir=out,
            scratch=scratch,
            import_roots=tuple(map(str, self._space.settings.import_roots)),
            package=self._space.settings.package,
            runtime=aot_build.runtime.__file__,
        )
        self._tell(ActionStarted(action.kernel, action.label, action.target))
        self._running[task.id] = task
        self._space.executor.submit(
            Job(
                id=task.id,
                entry=ENTRY,
                payload=msgspec.msgpack.encode(order),
                label=f"{action.kernel} {action.label}",
                log=self._log(task),
                scratch=order.scratch,
                timeout=action.timeout or self._space.settings.timeout,
            )
        )

    def _take_ends(self) -> None:
        if not self._running:
            if self._busy:
                self._flush(force=True)
                time.sleep(POLL_SECONDS)
            return
        limit = POLL_SECONDS if self._busy else FLUSH_SECONDS
        for end in self._space.executor.wait(limit):
            self._take(self._running.pop(end.id), end)
        self._flush()

    def _take(self, task: _Task, end: JobEnd) -> None:
        self.cpu_seconds += end.cpu_seconds
        if end.outcome != "ok":
            self._fail(task, Failure(end.outcome, end.reason, self._log(task)))
            return
        report = _reports.decode(end.payload)
        if report.error is not None:
            self._fail(task, Failure("error", report.error, self._log(task)))
            return
        try:
            artifacts = collect(Path(self._folders(task)[0]), task.action.outputs)
        except OutputProblem as problem:
            self._fail(task, Failure(problem.outcome, str(problem), self._log(task)))
            return
        self._publish(task, report, artifacts, end)

    def _publish(
        self, task: _Task, report: WorkReport, artifacts: tuple[Artifact, ...], end: JobEnd
    ) -> None:
        trace = self._with_distributions(report.trace)
        result = ActionResult(artifacts, report.metadata, end.seconds, end.peak_bytes)
        folder = Path(self._folders(task)[0])
        key = None
        if self._inputs_hold(task, trace):
            key = action_key(task.action, self._space.closures.closure(trace))
        try:
            self._space.store.publish(task.key, trace, key, result, folder)
        except OSError as error:
            self._space.leave_cache(error)
            self._space.store.publish(task.key, trace, key, result, folder)
        self._unflushed.append(task.key)
        self.longest = max(self.longest, end.seconds)
        task.outcome.executed = True
        task.outcome.trace = trace
        self._end(task, result=result, seconds=end.seconds)

    def _inputs_hold(self, task: _Task, trace: Trace) -> bool:
        """Whether what the action read is what its key says: nothing was edited meanwhile."""
        space = self._space
        paths = space.closures.inputs(trace)
        paths += [space.roles.decode(path) for path, _ in task.action.inputs]
        edited = [p for p in paths if not space.index.held_since(p, task.started_ns)]
        for path in edited:
            space.edited.add(path)
            space.emit(Notice(f"{path} was edited during the build: its results are not kept"))
        return not edited

    def _with_distributions(self, trace: Trace) -> Trace:
        """Import names of third-party packages become the distributions that own them."""
        owners = self._space.distributions.owners
        # Without an owner, the name itself is the question: it may be installed one day.
        names = {
            owner
            for package in trace.distributions
            for owner in owners(package) or (f"{UNOWNED}{package}",)
        }
        return dataclasses.replace(trace, distributions=tuple(sorted(names)))

    def _fail(self, task: _Task, failure: Failure) -> None:
        allowed = task.action.retries
        if allowed is None:
            allowed = self._space.settings.retries
        if failure.abnormal and task.attempts <= allowed:
            self.retried += 1
            action = task.action
            self._tell(
                ActionRetried(
                    action.kernel, action.label, action.target, failure.outcome, task.attempts
                )
            )
            self._submit(task)
            return
        self._space.locks.release(task.key)
        self._stopping = self._stopping or not self._space.settings.keep_going
        self._end(task, failure=failure)

    def _end(
        self,
        task: _Task,
        result: ActionResult | None = None,
        failure: Failure | None = None,
        seconds: float = 0.0,
    ) -> None:
        self._done += 1
        action = task.action
        for outcome in (task.outcome, *task.followers):
            outcome.result, outcome.failure, outcome.trace = result, failure, task.outcome.trace
        self._remove_folders(task)
        if failure is None:
            self._remove_log(task)
            self._tell(
                ActionFinished(
                    action.kernel, action.label, action.target, seconds, self._done, self._total
                )
            )
        else:
            self._tell(
                ActionFailed(
                    action.kernel, action.label, action.target,
                    failure.outcome, failure.reason, failure.log,
                )
            )  # fmt: skip

    # What serves the stations

    def _folders(self, task: _Task) -> tuple[str, str]:
        """Where the action leaves its outputs, and its scratch."""
        base = f"{self._space.work}/{task.id}"
        return f"{base}.out", f"{base}.tmp"

    def _remove_folders(self, task: _Task) -> None:
        for folder in self._folders(task):
            try:
                os.rmdir(folder)  # Outputs were moved away: most often there is nothing left.
            except OSError:
                shutil.rmtree(folder, ignore_errors=True)

    def _log(self, task: _Task) -> str:
        name = f"{task.action.kernel}-{task.action.target.replace(':', '-')}-{task.key[:16]}.log"
        return str(self._space.folder / "logs" / name)

    def _remove_log(self, task: _Task) -> None:
        Path(self._log(task)).unlink(missing_ok=True)

    def _flush(self, force: bool = False) -> None:
        """Make results visible, then give their locks back: never the other way round."""
        now = time.monotonic()
        due = len(self._unflushed) >= GROUP or now - self._flushed_at > FLUSH_SECONDS
        if not self._unflushed or not (due or force):
            return
        try:
            self._space.store.flush()
        except OSError as error:
            self._space.leave_cache(error)
        for key in self._unflushed:
            self._space.locks.release(key)
        self._unflushed.clear()
        self._flushed_at = now

    def _tell(self, event: Event) -> None:
        if not self._silent:
            self._space.emit(event)
