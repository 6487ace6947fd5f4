"""Decides *when* work runs: what is ready, longest remaining path first, while slots, CPU tokens
and memory last. Knows nothing of kernels, keys or caches: what a task does is its own affair.
"""

import abc
import enum
import heapq
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from aot_build.core.result import Failure
from aot_build.execute.admission import Admission
from aot_build.execute.order import Order
from aot_build.execute.protocol import Executor, Job, JobEnd, Tokens

BUSY_SECONDS = 0.05
"""How often a task is tried again that waits for somebody outside this build."""
TURN_SECONDS = 0.5
PASSED_OVER = 32
"""So many tasks that do not fit are passed over in search of one that does; and no task is passed
over more often than that."""
FIRST = 1e9
"""Seconds, as a priority: what reveals further tasks goes before all whose length is known."""


class State(enum.Enum):
    """What a task may answer instead of a job."""

    BUSY = "somebody outside this build has to end first"
    DONE = "there is nothing to run any more"


class Task(abc.ABC):
    """One node of the graph. Told by identity."""

    def __init__(
        self,
        label: str,
        *,
        family: str = "",
        needs: Sequence["Task"] = (),
        seconds: float = 0.0,
        memory: int = 0,
        guess: int | None = None,
        retries: int = 0,
        reveals: bool = False,
    ) -> None:
        """`seconds` and `memory` (bytes) are what it took the last time, 0 where that is not known;
        `guess` is for a family whose memory was never measured. What `reveals` tasks goes first.
        """
        self.label, self.family, self.needs = label, family, tuple(needs)
        self.seconds, self.memory, self.guess = seconds, memory, guess
        self.retries, self.reveals = retries, reveals
        self.attempts = 0
        self.over = False
        self.failed = False
        self.alone = False
        """Whether nothing may run beside it: it ran out of memory before."""
        self.chain = 0.0
        """Seconds of the longest chain of executed tasks that ends with this one; until it has
        ended, of the one that revealed it."""

    def __str__(self) -> str:
        return self.label

    @abc.abstractmethod
    def begin(self, slot: int) -> Job | State | Failure:
        """The next attempt as a job; or why there is none. Called again after BUSY."""

    @abc.abstractmethod
    def begun(self) -> None:
        """The job of the last `begin` runs."""

    @abc.abstractmethod
    def end(self, end: JobEnd) -> Failure | None:
        """Take what the job left; why that is no success."""

    @abc.abstractmethod
    def retry(self, failure: Failure) -> None:
        """An attempt ended abnormally, and another one follows."""

    @abc.abstractmethod
    def settled(self, failure: Failure | None) -> "Iterable[Task]":
        """It has ended for good; gives what its end has revealed."""


@dataclass(slots=True)
class Tally:
    """What the tasks that ran came to; times in seconds."""

    retried: int = 0
    cpu_seconds: float = 0.0
    critical_path: float = 0.0
    began: float = 0.0
    """Of `clock`, when the first job started; 0 where none did."""
    ended: float = 0.0
    done: int = 0
    total: int = 0


@dataclass(slots=True)
class Limits:
    """What bounds the work besides slots."""

    tokens: Tokens | None = None
    admission: Admission | None = None
    keep_going: bool = True
    turn: Callable[[], None] = field(default=lambda: None)
    """Called after each round of starts, before the wait for what ends next."""


class Scheduler:
    """Works off one graph. An executor may serve several, one after the other."""

    def __init__(
        self,
        executor: Executor,
        limits: Limits | None = None,
        tally: Tally | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._executor = executor
        self._limits = limits or Limits()
        self.tally = tally or Tally()
        self._clock, self._sleep = clock, sleep
        self._order: Order[Task] = Order()
        self._known: set[Task] = set()
        self._running: dict[int, tuple[Task, int]] = {}
        """Id of a job -> its task and slot."""
        self._busy: list[Task] = []
        self._busy_since = 0.0
        self._alone = False
        """Whether what runs must have nothing beside it."""
        self._slots = list(range(executor.slots))
        self._begun: list[Task] = []
        """Those whose start was not told yet."""
        self._passed: dict[Task, int] = {}
        self._starved = False
        """Whether a ready task waits for a token."""
        self._stopping = False

    def run(self, tasks: Iterable[Task]) -> None:
        """Work off tasks and all that they reveal. Raises what a task raises, and Interrupted."""
        self.add(tasks)
        while len(self._order) or self._busy or self._running:
            self._start_ready()
            self._announce()
            # While all slots are busy.
            self._limits.turn()
            self._take_ends()

    def add(self, tasks: Iterable[Task], after: float = 0.0) -> None:
        """Add tasks that are not there yet, with what they need. Raises Cycle.

        `after` is the chain of what has revealed them.
        """
        added = {t: None for t in _with_needs(tasks) if not t.over and t not in self._known}
        self._known.update(added)
        for task in added:
            task.chain = max(task.chain, after)
        self.tally.total += len(added)
        self._order.add(
            (t, FIRST if t.reveals else t.seconds, [n for n in t.needs if not n.over])
            for t in added
        )
        for task in added:
            lost = None if task.over else next((n for n in task.needs if n.failed), None)
            if lost is not None:
                self._skip([task, *self._order.fail(task)], f"not started: {lost} failed")

    # Starting

    def _start_ready(self) -> None:
        while self._stopping and (len(self._order) or self._busy):
            busy, self._busy = self._busy, []
            self._skip([*busy, *self._order.drain()], "not started: another kernel failed")
        if self._busy and self._clock() - self._busy_since >= BUSY_SECONDS:
            for task in self._busy:
                self._order.put_back(task)
            self._busy.clear()
        self._starved = False
        passed: list[Task] = []
        while self._slots and not self._starved and (first := self._next(passed)) is not None:
            self._start(first)
        for task in passed:
            self._order.put_back(task)

    def _next(self, passed: list[Task]) -> Task | None:
        """The first ready task that fits into memory; those before it are added to `passed`."""
        if self._alone:
            return None
        while len(passed) < PASSED_OVER and (task := self._order.take()) is not None:
            if not self._running or (not task.alone and self._fits(task)):
                return task
            passed.append(task)
            self._passed[task] = self._passed.get(task, 0) + 1
            if task.alone or self._passed[task] > PASSED_OVER:
                # Others would keep it from its turn for ever.
                break
        return None

    def _fits(self, task: Task) -> bool:
        admission = self._limits.admission
        return admission is None or admission.fits(self._wanted(task), self._executor.sizes())

    def _wanted(self, task: Task) -> int:
        admission = self._limits.admission
        return admission.expected(task.family, task.memory, task.guess) if admission else 0

    def _start(self, task: Task) -> None:
        """Take a token, then let the task say what it wants: nobody waits for a lock with one."""
        tokens = self._limits.tokens
        if tokens is not None and not tokens.take():
            self._starved = True
            self._order.put_back(task)
            return
        slot = heapq.heappop(self._slots)
        answer = task.begin(slot)
        if isinstance(answer, Job):
            self._submit(task, answer, slot)
            return
        heapq.heappush(self._slots, slot)
        if tokens is not None:
            tokens.give()
        if answer is State.BUSY:
            self._busy_since = self._busy_since if self._busy else self._clock()
            self._busy.append(task)
        else:
            self._settle(task, answer if isinstance(answer, Failure) else None)

    def _submit(self, task: Task, job: Job, slot: int) -> None:
        task.attempts += 1
        self._passed.pop(task, None)
        self.tally.began = self.tally.began or self._clock()
        self._running[job.id] = task, slot
        self._alone = task.alone
        if self._limits.admission is not None:
            self._limits.admission.start(job.id, self._wanted(task))
        self._executor.submit(job)
        self._begun.append(task)

    # Ending

    def _take_ends(self) -> None:
        if not self._running and not self._busy and not self._starved:
            return
        limit = BUSY_SECONDS if self._busy else TURN_SECONDS
        wake = self._limits.tokens.fileno() if self._starved and self._limits.tokens else None
        idle = not self._running and wake is None
        ends = [(end, self._release(end)) for end in self._executor.wait(limit, wake)]
        if ends and self._limits.keep_going:
            # No slot waits until what it held before is looked at and stored.
            self._start_ready()
        for end, task in ends:
            self._conclude(task, end)
        self._announce()
        if idle:
            # The executor does not wait where it runs nothing.
            self._sleep(limit)

    def _announce(self) -> None:
        """Have the tasks that were started say so: after what ended in their slots before."""
        begun, self._begun = self._begun, []
        for task in begun:
            task.begun()

    def _release(self, end: JobEnd) -> Task:
        """Slot, token and memory of a job are free again."""
        task, slot = self._running.pop(end.id)
        self._alone = False
        heapq.heappush(self._slots, slot)
        if self._limits.tokens is not None:
            self._limits.tokens.give()
            if end.outcome not in ("ok", "error"):
                self._limits.tokens.recover()
        if self._limits.admission is not None:
            done = end.outcome == "ok"
            self._limits.admission.end(end.id, task.family, end.peak_bytes, done=done)
        self.tally.ended = self._clock()
        self.tally.cpu_seconds += end.cpu_seconds
        return task

    def _conclude(self, task: Task, end: JobEnd) -> None:
        failure = task.end(end)
        if failure is not None and failure.abnormal and task.attempts <= task.retries:
            self.tally.retried += 1
            # Who was lost twice may be the one that takes others along; the last attempt of all
            # the others must not be beside it.
            bad_company = failure.outcome == "memory" or (
                failure.outcome == "lost" and task.attempts >= min(2, task.retries)
            )
            task.alone = task.alone or bad_company
            task.retry(failure)
            self._order.put_back(task)
            return
        self._settle(task, failure, end.seconds)

    def _settle(self, task: Task, failure: Failure | None, seconds: float = 0.0) -> None:
        """It has ended for good, after a job of so many seconds."""
        task.chain = seconds + max(task.chain, *(need.chain for need in task.needs), 0.0)
        self.tally.critical_path = max(self.tally.critical_path, task.chain)
        if failure is None:
            self._end(task, failed=False)
            self._order.end(task)
            self.add(task.settled(None), task.chain)
            return
        self._stopping = self._stopping or not self._limits.keep_going
        lost = self._order.fail(task)
        self._end(task, failed=True)
        # What is revealed may need what is lost with it.
        for each in lost:
            each.failed = True
        self.add(task.settled(failure), task.chain)
        self._skip(lost, f"not started: {task} failed")

    def _skip(self, tasks: Sequence[Task], why: str) -> None:
        for task in tasks:
            self._order.fail(task)
            task.failed = True
        for task in tasks:
            self._end(task, failed=True)
            self.add(task.settled(Failure("skipped", why)), task.chain)

    def _end(self, task: Task, *, failed: bool) -> None:
        task.over, task.failed = True, failed
        self._passed.pop(task, None)
        self.tally.done += 1


def _with_needs(tasks: Iterable[Task]) -> Iterable[Task]:
    """Tasks and all that they need."""
    found: dict[Task, None] = {}
    left = list(tasks)[::-1]
    while left:
        task = left.pop()
        if task not in found:
            found[task] = None
            left += task.needs
    return found
