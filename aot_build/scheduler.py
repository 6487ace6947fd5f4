"""Decides *when* the misses run: longest first, each once among concurrent builds.

Every miss goes through the same stations: claim its lock, look it up again, run it, check what it
left behind, publish, give the lock back. Nobody waits for a lock while something else could run.
"""

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
from aot_build.core.action import STAGE, Action
from aot_build.core.artifact import Artifact
from aot_build.core.record import Record
from aot_build.core.result import ActionResult, Failure
from aot_build.core.store import ChangedOutput
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
from aot_build.evidence import inputs_held, owned_trace
from aot_build.execute.protocol import Job, JobEnd
from aot_build.graph.keys import action_key
from aot_build.graph.rebuilder import Decision
from aot_build.outputs import OutputProblem, collect
from aot_build.store.local import GROUP
from aot_build.workspace import Workspace

POLL_SECONDS = 0.05
"""How often a lock that another build holds is tried again."""
FLUSH_SECONDS = 0.5
STAGE_LOST = "what an earlier stage left is damaged in the cache"

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
class _Run:
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
    """Runs decisions of one workspace. Where `silent`, nobody is told of them."""

    def __init__(self, workspace: Workspace, *, silent: bool = False) -> None:
        self._space = workspace
        self._silent = silent
        self._waiting: deque[_Run] = deque()
        self._busy: deque[_Run] = deque()
        self._running: dict[int, _Run] = {}
        self._unflushed: list[str] = []
        self._flushed_at = 0.0
        self._done = self._total = 0
        self._stopping = False

    def run(
        self, decisions: Sequence[Decision], last: Callable[[Decision], Record | None]
    ) -> list[Outcome]:
        """Run every miss; hits pass through. Outcomes in the order of the decisions.

        `last` gives the record of a decision's last build: its duration orders the queue.
        """
        outcomes = [Outcome(d, d.result, d.trace) for d in decisions]
        runs = self._runs([o for o in outcomes if o.result is None], last)
        self._waiting.extend(sorted(runs, key=lambda run: (-run.expected, run.id)))
        self._done, self._total = 0, sum(1 + len(run.followers) for run in runs)
        try:
            while self._waiting or self._busy or self._running:
                self._fill_slots()
                self._take_ends()
        finally:
            # What has finished is kept, also by a build that is stopped.
            self._flush(force=True)
        return outcomes

    def _runs(self, misses: list[Outcome], last: Callable[[Decision], Record | None]) -> list[_Run]:
        runs: dict[str, _Run] = {}
        for outcome in misses:
            key = outcome.decision.base_key
            if key in runs:
                runs[key].followers.append(outcome)
            else:
                record = last(outcome.decision)
                runs[key] = _Run(len(runs), outcome, record.seconds if record else 0.0)
        known = [run.expected for run in runs.values() if run.expected]
        typical = statistics.median(known) if known else 0.0
        for run in runs.values():
            run.expected = run.expected or typical
        return list(runs.values())

    # Stations

    def _fill_slots(self) -> None:
        if not self._waiting and not self._busy:
            return
        for _ in range(len(self._busy)):
            self._waiting.append(self._busy.popleft())
        while self._waiting and (self._stopping or self._space.executor.free_slots() > 0):
            run = self._waiting.popleft()
            if self._stopping:
                self._end(run, failure=Failure("skipped", "not started: another kernel failed"))
            elif not self._acquire(run):
                self._busy.append(run)
            else:
                self._claim(run)

    def _acquire(self, run: _Run) -> bool:
        locks = self._space.locks
        was_broken = locks.broken
        acquired = locks.acquire(run.key)
        if locks.broken and not was_broken:
            text = f"no locks here ({locks.broken}): concurrent builds may do the same work twice"
            self._space.emit(Notice(text))
        return acquired

    def _claim(self, run: _Run) -> None:
        """The lock is ours; another build may have done the work before it was."""
        again = self._space.rebuilder.probe(run.action)
        if again.result is not None:
            self._space.locks.release(run.key)
            run.outcome.trace = again.trace
            self._end(run, result=again.result)
        else:
            self._submit(run)

    def _submit(self, run: _Run) -> None:
        run.attempts += 1
        run.started_ns = time.time_ns()
        action = run.action
        if run.attempts > 1:
            self._remove_folders(run)
        for folder in self._folders(run):
            os.mkdir(folder)
        out, scratch = self._folders(run)
        roots = dict(self._space.roles.roots)
        if any(path.startswith(STAGE) for path, _ in action.inputs):
            roots[STAGE[1:-1]] = stages = f"{scratch}/stages"
            if not self._lay_out(action, stages):
                self._fail(run, Failure("error", STAGE_LOST))
                return
        order = WorkOrder(
            action=action,
            roots=roots,
            out_dir=out,
            scratch=scratch,
            import_roots=tuple(map(str, self._space.settings.import_roots)),
            package=self._space.settings.package,
            runtime=aot_build.runtime.__file__,
        )
        self._tell(ActionStarted(action.kernel, action.label, action.target))
        self._running[run.id] = run
        self._space.executor.submit(
            Job(
                id=run.id,
                entry=ENTRY,
                payload=msgspec.msgpack.encode(order),
                label=f"{action.kernel} {action.label}",
                log=self._log(run),
                scratch=order.scratch,
                timeout=action.timeout or self._space.settings.timeout,
            )
        )

    def _lay_out(self, action: Action, folder: str) -> bool:
        """Copy what earlier stages left to where the action finds it."""
        taken = [(p.removeprefix(STAGE), d) for p, d in action.inputs if p.startswith(STAGE)]
        # All of them: each that is damaged is set aside, and made again with the others.
        there = [self._space.store.fetch(digest, Path(folder + path)) for path, digest in taken]
        return all(there)

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

    def _take(self, run: _Run, end: JobEnd) -> None:
        self._space.tally.cpu_seconds += end.cpu_seconds
        if end.outcome != "ok":
            self._fail(run, Failure(end.outcome, end.reason, self._log(run)))
            return
        report = _reports.decode(end.payload)
        if report.error is not None:
            self._fail(run, Failure("error", report.error, self._log(run)))
            return
        try:
            artifacts = collect(Path(self._folders(run)[0]), run.action.outputs)
        except OutputProblem as problem:
            # What an analysis finds is metadata: it need not leave a file.
            if problem.outcome != "nothing" or not report.metadata:
                self._fail(run, Failure(problem.outcome, str(problem), self._log(run)))
                return
            artifacts = ()
        self._publish(run, report, artifacts, end)

    def _publish(
        self, run: _Run, report: WorkReport, artifacts: tuple[Artifact, ...], end: JobEnd
    ) -> None:
        trace = owned_trace(self._space, report)
        result = ActionResult(artifacts, report.metadata, end.seconds, end.peak_bytes)
        # First the key, then whether what it stands for held: what changes after that is seen.
        key: str | None = action_key(run.action, self._space.closures.closure(trace))
        if not inputs_held(self._space, run.action, trace, run.started_ns):
            key = None
        try:
            self._store(run, trace, key, result)
        except ChangedOutput as problem:
            self._fail(run, Failure("error", str(problem), self._log(run)))
            return
        self._unflushed.append(run.key)
        self._space.tally.longest = max(self._space.tally.longest, end.seconds)
        run.outcome.executed = True
        run.outcome.trace = trace
        self._end(run, result=result, seconds=end.seconds)

    def _store(self, run: _Run, trace: Trace, key: str | None, result: ActionResult) -> None:
        folder = Path(self._folders(run)[0])
        try:
            self._space.store.publish(run.key, trace, key, result, folder)
        except OSError as error:
            self._space.leave_cache(error)
            self._space.store.publish(run.key, trace, key, result, folder)

    def _fail(self, run: _Run, failure: Failure) -> None:
        allowed = run.action.retries
        if allowed is None:
            allowed = self._space.settings.retries
        if failure.abnormal and run.attempts <= allowed:
            self._space.tally.retried += 1
            action = run.action
            self._tell(
                ActionRetried(
                    action.kernel, action.label, action.target, failure.outcome, run.attempts
                )
            )
            self._submit(run)
            return
        self._space.locks.release(run.key)
        self._stopping = self._stopping or not self._space.settings.keep_going
        self._end(run, failure=failure)

    def _end(
        self,
        run: _Run,
        result: ActionResult | None = None,
        failure: Failure | None = None,
        seconds: float = 0.0,
    ) -> None:
        self._done += 1 + len(run.followers)
        action = run.action
        for outcome in (run.outcome, *run.followers):
            outcome.result, outcome.failure, outcome.trace = result, failure, run.outcome.trace
        self._remove_folders(run)
        if failure is None:
            self._remove_log(run)
            self._tell(
                ActionFinished(
                    action.kernel, action.label, action.target, seconds, self._done, self._total
                )
            )
        elif failure.outcome != "skipped" and failure.reason != STAGE_LOST:
            self._tell(
                ActionFailed(
                    action.kernel, action.label, action.target,
                    failure.outcome, failure.reason, failure.log,
                )
            )  # fmt: skip

    # What serves the stations

    def _folders(self, run: _Run) -> tuple[str, str]:
        """Where the action leaves its outputs, and its scratch."""
        base = f"{self._space.work}/{run.id}"
        return f"{base}.out", f"{base}.tmp"

    def _remove_folders(self, run: _Run) -> None:
        for folder in self._folders(run):
            try:
                os.rmdir(folder)  # Outputs were moved away: most often there is nothing left.
            except OSError:
                shutil.rmtree(folder, ignore_errors=True)

    def _log(self, run: _Run) -> str:
        name = f"{run.action.kernel}-{run.action.target.replace(':', '-')}-{run.key[:16]}.log"
        return str(self._space.folder / "logs" / name)

    def _remove_log(self, run: _Run) -> None:
        Path(self._log(run)).unlink(missing_ok=True)

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
