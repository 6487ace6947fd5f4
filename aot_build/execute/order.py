"""What to start next: tasks whose needs have ended, the longest remaining path first.

The list schedule of Graham, "Bounds on Multiprocessing Timing Anomalies" (1969), by bottom levels:
a task's priority is its own expected time and that of the longest chain which waits for it.
"""

import heapq
from collections import deque
from collections.abc import Container, Hashable, Iterable
from typing import Generic, TypeVar

from aot_build.errors import InternalError

T = TypeVar("T", bound=Hashable)


class Cycle(InternalError):
    """Tasks need one another, so that none of them can be first."""


class Order(Generic[T]):
    """A graph of tasks that may grow while it is worked off. Equal paths keep their order."""

    def __init__(self) -> None:
        self._seconds: dict[T, float] = {}
        self._path: dict[T, float] = {}
        """Seconds from a task's start to the end of the longest chain that it begins."""
        self._needs: dict[T, set[T]] = {}
        """What a task still waits for."""
        self._needed_by: dict[T, list[T]] = {}
        self._place: dict[T, int] = {}
        self._ready: list[tuple[float, int, T]] = []
        """A heap. A task whose path has grown is there twice; the older entry is passed over."""
        self._waiting: set[T] = set()
        """Known, and neither taken nor ended."""
        self._ended: set[T] = set()

    def __len__(self) -> int:
        """How many tasks are known and not taken."""
        return len(self._waiting)

    def add(self, tasks: Iterable[tuple[T, float, Iterable[T]]]) -> None:
        """Add tasks, each with its expected seconds and what it needs: tasks that are known, or
        are added with it. Raises Cycle, and adds none then."""
        added = [(task, seconds, tuple(needs)) for task, seconds, needs in tasks]
        first_to_last = _sorted({task: needs for task, _, needs in added})
        for task, seconds, needs in added:
            self._seconds[task] = self._path[task] = seconds
            self._needs[task] = {need for need in needs if need not in self._ended}
            self._place[task] = len(self._place)
            self._waiting.add(task)
        for task, _, _ in added:
            for need in self._needs[task]:
                self._needed_by.setdefault(need, []).append(task)
        young = set(first_to_last)
        for task in reversed(first_to_last):
            self._lengthen(self._needs[task], self._path[task], young)
        for task, _, _ in added:
            if not self._needs[task]:
                self._push(task)

    def _lengthen(self, needs: Iterable[T], after: float, young: Container[T]) -> None:
        """A chain of `after` seconds now waits for these. Those that are `young` pass it on when
        it is their turn, once; the others do so at once."""
        grown = deque((need, after) for need in needs)
        while grown:
            task, after = grown.popleft()
            if task in self._ended or self._seconds[task] + after <= self._path[task]:
                continue
            self._path[task] = self._seconds[task] + after
            if task in young:
                continue
            grown.extend((need, self._path[task]) for need in self._needs[task])
            if task in self._waiting and not self._needs[task]:
                self._push(task)

    def _push(self, task: T) -> None:
        heapq.heappush(self._ready, (-self._path[task], self._place[task], task))

    def take(self) -> T | None:
        """The next task, which is then no longer waiting; None where none is ready."""
        while self._ready:
            path, _, task = heapq.heappop(self._ready)
            if task in self._waiting and -path == self._path[task]:
                self._waiting.discard(task)
                return task
        return None

    def put_back(self, task: T) -> None:
        """It could not be started: it waits again, at its place."""
        self._waiting.add(task)
        self._push(task)

    def end(self, task: T) -> None:
        """It is done: what waited for it alone is ready."""
        self._ended.add(task)
        self._waiting.discard(task)
        for other in self._needed_by.pop(task, ()):
            self._needs[other].discard(task)
            if other in self._waiting and not self._needs[other]:
                self._push(other)

    def fail(self, task: T) -> list[T]:
        """It came to nothing: everything that needs it is given, and waits no more."""
        lost: list[T] = []
        failed = [task]
        while failed:
            each = failed.pop()
            self._ended.add(each)
            self._waiting.discard(each)
            for other in self._needed_by.pop(each, ()):
                if other in self._waiting:
                    self._waiting.discard(other)
                    lost.append(other)
                    failed.append(other)
        return lost

    def drain(self) -> list[T]:
        """Everything that waits, in the order in which it came; then nothing does."""
        left = sorted(self._waiting, key=self._place.__getitem__)
        self._waiting.clear()
        self._ready.clear()
        return left


def _sorted(added: dict[T, tuple[T, ...]]) -> list[T]:
    """The tasks of one batch, what they need first: older ones cannot need younger. Raises Cycle
    where they need one another."""
    done: dict[T, None] = {}
    for first in added:
        path: list[T] = []
        on_path: set[T] = set()
        stack: list[tuple[T, bool]] = [(first, False)]
        while stack:
            task, left = stack.pop()
            if left:
                path.pop()
                on_path.discard(task)
                done[task] = None
            elif task in on_path:
                cycle = [*path[path.index(task) :], task]
                raise Cycle("actions need one another", {"cycle": " -> ".join(map(str, cycle))})
            elif task not in done and task in added:
                path.append(task)
                on_path.add(task)
                stack.append((task, True))
                stack += [(need, False) for need in added[task]]
    return list(done)
