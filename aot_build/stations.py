"""The way of one action through a build: claim its lock, look it up again, run it, check what it
left behind, publish, give the lock back. The scheduler says when.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from aot_build.backends.work import ENTRY
from aot_build.core.action import Action
from aot_build.core.artifact import Artifact
from aot_build.core.result import ActionResult, Failure
from aot_build.core.store import ChangedOutput
from aot_build.core.trace import Trace
from aot_build.core.work import WorkReport
from aot_build.events import ActionFailed, ActionFinished, ActionRetried, ActionStarted, Notice
from aot_build.evidence import fully_known, inputs_held, owned_trace, tell_trespasses
from aot_build.execute.printed import last_lines
from aot_build.execute.protocol import Job, JobEnd
from aot_build.execute.scheduler import Limits, Scheduler, State, Task
from aot_build.graph.keys import action_key
from aot_build.graph.rebuilder import Decision
from aot_build.imports import ImportTask
from aot_build.orders import work_order
from aot_build.outcome import Outcome
from aot_build.outputs import OutputProblem, collect
from aot_build.store.history import Past
from aot_build.store.local import GROUP
from aot_build.workspace import Workspace

FLUSH_SHARE = 10
"""Making results durable takes at most one part in this many of the time."""
STAGE_LOST = "what an earlier stage left is damaged in the cache"

Then = Callable[[Outcome], Iterable[Task]]
"""What the end of an action reveals."""

_reports = msgspec.msgpack.Decoder(WorkReport)


class Stations:
    """What the tasks of one build share: each piece of work is one task, whoever asks for it."""

    def __init__(self, workspace: Workspace) -> None:
        self.space = workspace
        self._by_key: dict[str, ActionTask] = {}
        self._imports: dict[tuple[str, ...], ImportTask] = {}
        self._unflushed: list[str] = []
        self._flush_at = 0.0

    def knows(self, key: str) -> bool:
        """Whether there is a task of this key."""
        return key in self._by_key

    def task(self, decision: Decision, name: str, stage: str = "", **more: object) -> "ActionTask":
        """The task of a miss: the one that is there, where the same work was asked for before."""
        found = self._by_key.get(decision.base_key) if decision.base_key else None
        return found or ActionTask(self, decision, name, stage, **more)  # type: ignore[arg-type]

    def ask(
        self, decision: Decision, name: str, then: Then, needs: Sequence[Task] = ()
    ) -> Iterable[Task]:
        """Have `then` called with what a helper action found: at once for a hit, else once the
        task that is given has ended."""
        if decision.result is not None:
            return then(Outcome(decision, decision.result, decision.trace))
        return [ActionTask(self, decision, name, decision.action.stage, needs=needs, then=then)]

    def imports(self, modules: tuple[str, ...]) -> Sequence[Task]:
        """What must have ended before workers find these modules imported: nothing, or a task."""
        young = self.space.unloaded(modules)
        if not young:
            return ()
        if young not in self._imports:
            self._imports[young] = ImportTask(self.space, young)
        return (self._imports[young],)

    def run(self, tasks: Iterable[Task]) -> None:
        """Work tasks off, with all that they reveal."""
        found = list(tasks)
        if not found:
            return
        self.space.preload_for(t.action.kernel for t in found if isinstance(t, ActionTask))
        limits = Limits(
            tokens=self.space.tokens,
            admission=self.space.admission,
            keep_going=self.space.settings.keep_going,
            turn=self.flush,
        )
        try:
            Scheduler(self.space.executor, limits, self.space.tally).run(found)
        finally:
            self.flush(force=True)

    def claim(self, task: "ActionTask") -> "ActionTask":
        """The task that does the work of this one's key: itself, or the one that was first."""
        return self._by_key.setdefault(task.key, task)

    def published(self, key: str) -> None:
        """The lock of this key can go once its result is visible."""
        self._unflushed.append(key)

    def flush(self, force: bool = False) -> None:
        """Make results visible, then give their locks back: never the other way round."""
        began = time.monotonic()
        due = len(self._unflushed) >= GROUP or began >= self._flush_at
        if not self._unflushed or not (due or force):
            return
        try:
            self.space.store.flush()
        except OSError as error:
            self.space.leave_cache(error)
        for key in self._unflushed:
            self.space.locks.release(key)
        self._unflushed.clear()
        ended = time.monotonic()
        self._flush_at = ended + FLUSH_SHARE * (ended - began)


class ActionTask(Task):
    """One action that is missing. `outcome` is complete once it has settled."""

    def __init__(
        self,
        stations: Stations,
        decision: Decision,
        name: str,
        stage: str = "",
        *,
        needs: Sequence[Task] = (),
        decide: Callable[[], Decision] | None = None,
        then: Then | None = None,
    ) -> None:
        """`name` names the action in the history. `decide` makes its key where that rests on what
        it `needs`; `then` gives what its end reveals."""
        action, space = decision.action, stations.space
        settings, history = space.settings, space.history
        family = f"{action.kernel}|{action.stage}"
        past = history.past(family, name)
        super().__init__(
            f"{action.kernel} [{action.label}] for {action.target}",
            family=family,
            needs=needs,
            seconds=history.seconds(family, name),
            memory=past.peak_bytes if past else 0,
            guess=action.memory or settings.memory_per_worker,
            retries=settings.retries if action.retries is None else action.retries,
            reveals=then is not None,
        )
        self.outcome = Outcome(decision)
        self._stations, self._space, self._name, self._stage = stations, space, name, stage
        self._decide, self._then = decide, then
        self._id = space.next_id()
        space.expect_work()
        self._slot = -1
        self._began_ns = 0
        self._seconds = self._cpu_seconds = 0.0
        self._peak_bytes = 0
        self._locked = False
        if self.key:
            stations.claim(self)

    @property
    def action(self) -> Action:
        return self.outcome.decision.action

    @property
    def key(self) -> str:
        return self.outcome.decision.base_key

    # The scheduler's side

    def begin(self, slot: int) -> Job | State | Failure:
        if self._decide is not None:
            self.outcome.decision, self._decide = self._decide(), None
            if self.outcome.decision.result is not None:
                self._found(self.outcome.decision)
                return State.DONE
        first = self._stations.claim(self)
        if first is not self:
            return self._as(first)
        if not self._acquire():
            return State.BUSY
        if not self.attempts:
            again = self._space.rebuilder.probe(self.action)
            if again.result is not None:
                self._found(again)
                return State.DONE
        return self._job(slot)

    def begun(self) -> None:
        a, seconds = self.action, round(self.seconds, 3)
        started = ActionStarted(a.kernel, a.label, a.target, self._slot, seconds, self._stage)
        self._space.emit(started)

    def end(self, end: JobEnd) -> Failure | None:
        self._seconds, self._cpu_seconds = end.seconds, end.cpu_seconds
        self._peak_bytes = end.peak_bytes
        if end.outcome != "ok":
            return self._failure(end.outcome, end.reason)
        report = _reports.decode(end.payload)
        if report.error is not None:
            return self._failure(report.outcome, report.error)
        if left := tell_trespasses(self._space, self.action.kernel, report.trespasses):
            return self._failure(left.outcome, left.reason)
        try:
            artifacts = collect(Path(self._folders[0]), self.action.outputs)
        except OutputProblem as problem:
            # What an analysis finds is metadata: it need not leave a file.
            if problem.outcome != "nothing" or not report.metadata:
                reason = "\n".join(filter(None, (str(problem), last_lines(self._log))))
                return self._failure(problem.outcome, reason)
            artifacts = ()
        return self._publish(report, artifacts)

    def retry(self, failure: Failure) -> None:
        a = self.action
        self._space.emit(
            ActionRetried(
                a.kernel, a.label, a.target, failure.outcome, self.attempts, self._slot, self._stage
            )
        )

    def settled(self, failure: Failure | None) -> Iterable[Task]:
        self.outcome.failure = failure
        if self._locked and not self.outcome.executed:
            self._space.locks.release(self.key)
        self._remove_folders()
        if failure is None:
            Path(self._log).unlink(missing_ok=True)
        self._tell(failure)
        return self._then(self.outcome) if self._then is not None else ()

    # Stations

    def _failure(self, outcome: str, reason: str) -> Failure:
        self._space.check_room(reason)
        return Failure(outcome, reason, self._log)

    def _found(self, decision: Decision) -> None:
        self.outcome.result, self.outcome.trace = decision.result, decision.trace

    def _as(self, first: "ActionTask") -> State | Failure:
        """What became of the task that does the same work."""
        if first.outcome.failure is not None:
            return first.outcome.failure
        if first.outcome.result is None:
            return State.BUSY
        self.outcome.result, self.outcome.trace = first.outcome.result, first.outcome.trace
        return State.DONE

    def _acquire(self) -> bool:
        locks = self._space.locks
        was_broken = locks.broken
        self._locked = locks.acquire(self.key)
        if locks.broken and not was_broken:
            text = f"no locks here ({locks.broken}): concurrent builds may do the same work twice"
            self._space.emit(Notice(text))
        return self._locked

    def _job(self, slot: int) -> Job | Failure:
        self._slot, self._began_ns = slot, self._space.tick_after_opening()
        if self.attempts:
            self._remove_folders()
        for folder in self._folders:
            os.mkdir(folder)
        a, (out, scratch) = self.action, self._folders
        order = work_order(self._space, a, out, scratch)
        if order is None:
            return Failure("error", STAGE_LOST)
        return Job(
            id=self._id,
            entry=ENTRY,
            payload=msgspec.msgpack.encode(order),
            label=f"{a.kernel} {a.label}",
            log=self._log,
            scratch=scratch,
            timeout=a.timeout or self._space.settings.timeout,
        )

    def _publish(self, report: WorkReport, artifacts: tuple[Artifact, ...]) -> Failure | None:
        space = self._space
        space.preloads.learn(self.action.kernel, report)
        trace = owned_trace(space, report)
        result = ActionResult(
            artifacts, report.metadata, self._seconds, self._peak_bytes, report.trespasses
        )
        # First the key, then whether what it stands for held: what changes after that is seen.
        key: str | None = action_key(self.action, space.closures.closure(trace))
        held = inputs_held(space, self.action, trace, self._began_ns)
        key = key if held and fully_known(space, self.action.kernel, report) else None
        try:
            self._store(trace, key, result)
        except ChangedOutput as problem:
            return self._failure("error", str(problem))
        self._stations.published(self.key)
        past = Past(round(self._seconds, 3), round(self._cpu_seconds, 3), self._peak_bytes)
        space.history.note(self.family, self._name, past)
        self.outcome.executed = True
        self.outcome.result, self.outcome.trace = result, trace
        return None

    def _store(self, trace: Trace, key: str | None, result: ActionResult) -> None:
        folder = Path(self._folders[0])
        try:
            self._space.store.publish(self.key, trace, key, result, folder)
        except OSError as error:
            self._space.leave_cache(error)
            self._space.store.publish(self.key, trace, key, result, folder)

    # What serves the stations

    @property
    def _folders(self) -> tuple[str, str]:
        """Where the action leaves its outputs, and its scratch."""
        base = f"{self._space.work}/{self._id}"
        return f"{base}.out", f"{base}.tmp"

    def _remove_folders(self) -> None:
        for folder in self._folders:
            try:
                os.rmdir(folder)  # Outputs were moved away: most often there is nothing left.
            except OSError:
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def _log(self) -> str:
        name = f"{self.action.kernel}-{self.action.target.replace(':', '-')}-{self.key[:16]}.log"
        return str(self._space.folder / "logs" / name)

    def _tell(self, failure: Failure | None) -> None:
        a, tally = self.action, self._space.tally
        if failure is None:
            self._space.emit(
                ActionFinished(
                    a.kernel, a.label, a.target, round(self._seconds, 3), tally.done, tally.total,
                    self._slot, self._stage, round(self._cpu_seconds, 3), self._peak_bytes,
                )
            )  # fmt: skip
        elif failure.outcome != "skipped" and failure.reason != STAGE_LOST:
            self._space.emit(
                ActionFailed(
                    a.kernel, a.label, a.target, failure.outcome, failure.reason, failure.log,
                    self._slot, self._stage, round(self._cpu_seconds, 3), self._peak_bytes,
                )
            )  # fmt: skip
