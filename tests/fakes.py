"""An executor and tasks of known length, in a time of their own: schedules without any work."""

import heapq
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aot_build.core.result import Failure
from aot_build.execute.protocol import Job, JobEnd
from aot_build.execute.scheduler import Limits, Scheduler, State, Task


class SimulatedPool:
    """Runs jobs by a clock that leaps from one end to the next. A job ends as its task says."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.refused: dict[str, str] = {}
        self.now = 1.0
        self.tasks: dict[int, SimulatedTask] = {}
        self.most = 0
        """The greatest number of jobs that ran at once."""
        self.most_bytes = self._bytes = 0
        self._ends: list[tuple[float, int]] = []

    def clock(self) -> float:
        return self.now

    def start(self) -> None:
        pass

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def submit(self, job: Job) -> None:
        task = self.tasks[job.id]
        heapq.heappush(self._ends, (self.now + task.takes, job.id))
        self.most = max(self.most, len(self._ends))
        assert self.most <= self.slots
        self._bytes += task.bytes
        self.most_bytes = max(self.most_bytes, self._bytes)

    def wait(self, timeout: float | None = None, wake: int | None = None) -> list[JobEnd]:
        if not self._ends:
            return []
        self.now, number = heapq.heappop(self._ends)
        ended = [number]
        while self._ends and self._ends[0][0] == self.now:
            ended.append(heapq.heappop(self._ends)[1])
        self._bytes -= sum(self.tasks[each].bytes for each in ended)
        return [self.tasks[each].job_end() for each in ended]

    def sizes(self) -> Mapping[int, int]:
        return {}

    def preload(self, modules: Sequence[str], *, trusted: bool = False) -> None:
        raise AssertionError("nothing is imported here")

    def settled(self, modules: Sequence[str]) -> bool:
        return True

    def close(self) -> None:
        self._ends.clear()


class SimulatedTask(Task):
    """Takes some seconds and bytes; its attempts end with `outcomes`, the last one for ever."""

    _numbers = itertools.count()

    def __init__(
        self,
        pool: SimulatedPool,
        takes: float,
        *,
        outcomes: Sequence[str] = ("ok",),
        bytes: int = 0,
        reveal: Callable[[], Iterable[Task]] = lambda: (),
        busy: int = 0,
        **more: Any,
    ) -> None:
        self.number = next(self._numbers)
        super().__init__(f"task {self.number}", **more)
        self.takes, self.bytes = takes, bytes
        self.outcomes, self.reveal, self.busy = outcomes, reveal, busy
        self.reveal_failed: Callable[[], Iterable[Task]] = lambda: ()
        self.failure: Failure | None = None
        self.began: list[float] = []
        self.slots: list[int] = []
        self.settlements = 0
        self._pool = pool
        pool.tasks[self.number] = self

    def job_end(self) -> JobEnd:
        outcome = self.outcomes[min(self.attempts, len(self.outcomes)) - 1]
        return JobEnd(self.number, outcome, b"", outcome, self.takes, self.takes, self.bytes)

    def begin(self, slot: int) -> Job | State | Failure:
        if self.busy:
            self.busy -= 1
            return State.BUSY
        self.began.append(self._pool.now)
        self.slots.append(slot)
        return Job(self.number, "", b"")

    def begun(self) -> None:
        pass

    def end(self, end: JobEnd) -> Failure | None:
        return None if end.outcome == "ok" else Failure(end.outcome, end.reason)

    def retry(self, failure: Failure) -> None:
        pass

    def settled(self, failure: Failure | None) -> Iterable[Task]:
        self.failure = failure
        self.settlements += 1
        return self.reveal() if failure is None else self.reveal_failed()


class Pot:
    """A pot of tokens in a pipe: the descriptor is readable while there is one."""

    def __init__(self, size: int) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.write(self._writer, b"+" * size)
        self.held = self.most = self.recovered = 0

    def take(self) -> bool:
        try:
            os.read(self._reader, 1)
        except BlockingIOError:
            return False
        self.held += 1
        self.most = max(self.most, self.held)
        return True

    def give(self) -> None:
        self.held -= 1
        os.write(self._writer, b"+")

    def recover(self) -> None:
        self.recovered += 1

    def fileno(self) -> int:
        return self._reader

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


def simulate(pool: SimulatedPool, tasks: Sequence[Task], limits: Limits | None = None) -> Scheduler:
    """Work tasks off in simulated time."""
    scheduler = Scheduler(pool, limits, clock=pool.clock, sleep=pool.sleep)
    scheduler.run(tasks)
    return scheduler
