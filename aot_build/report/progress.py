"""How far a build is: what the displays show between its events."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from aot_build.events import (
    ActionFailed,
    ActionFinished,
    ActionRetried,
    ActionStarted,
    Event,
    PlanReady,
)
from aot_build.report.wording import count, elapsed, name

Ended = ActionFinished | ActionFailed | ActionRetried
ROUNDING_S = 0.0005
"""What each number of an event may be off by: in sum no work that is left."""


@dataclass(slots=True, eq=False)
class Running:
    """An attempt at an action that has not ended; `since` is in seconds of the watcher's clock."""

    event: ActionStarted
    since: float

    def __str__(self) -> str:
        return which(self.event)


@dataclass(slots=True)
class RunningActions:
    """What runs, the oldest first. Two actions may have one name: then the worker tells."""

    _by_name: dict[tuple[str, ...], list[Running]] = field(default_factory=dict)
    _count: int = 0

    def __iter__(self) -> Iterator[Running]:
        return iter(sorted((r for rows in self._by_name.values() for r in rows), key=_age))

    def __len__(self) -> int:
        return self._count

    def start(self, event: ActionStarted, now: float) -> Running:
        """Take in an attempt that begins."""
        begun = Running(event, now)
        self._by_name.setdefault(key(event), []).append(begun)
        self._count += 1
        return begun

    def end(self, event: Ended) -> Running | None:
        """What ended; None where it was not running, as another build had done the work."""
        found = self._by_name.get(key(event))
        if not found:
            return None
        at = next((n for n, r in enumerate(found) if r.event.worker == event.worker), 0)
        ended = found.pop(at)
        self._count -= 1
        if not found:
            del self._by_name[key(event)]
        return ended


def _age(running: Running) -> float:
    return running.since


def which(event: ActionStarted | Ended) -> str:
    """The action of an event, for humans."""
    return name(*key(event))


def key(event: ActionStarted | Ended) -> tuple[str, str, str, str]:
    """What its events have in common."""
    return event.kernel, event.variant, event.target, event.stage


class Progress:
    """Counts events; `clock` gives monotonic seconds.

    `done`, `total` and `failed` count actions, those that serve variants included, and `hits`
    variants.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._left_s = self._mean_s = 0.0
        """Expected seconds of all that has not ended, and of one action."""
        self._workers = 1
        self.running = RunningActions()
        self.done = self.total = self.failed = self.hits = 0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._began

    def take(self, event: Event) -> None:
        """Take in one event; constant time."""
        match event:
            case PlanReady():
                self._plan(event)
            case ActionStarted():
                self.running.start(event, self._clock())
            case ActionRetried():
                self.running.end(event)
            case ActionFinished():
                self._end(event, event.done)
                self.total = event.total
            case ActionFailed():
                self.failed += 1
                self._end(event, self.done + 1)
                self.total = max(self.total, self.done)

    def _plan(self, event: PlanReady) -> None:
        self.done, self.total, self.hits = 0, event.to_run + event.stages, event.hits
        self._workers = max(1, event.workers)
        self._left_s = event.expected_s
        self._mean_s = event.expected_s / max(1, self.total)

    def _end(self, event: ActionFinished | ActionFailed, done: int) -> None:
        ended = self.running.end(event)
        # What ends without having run, and what is skipped without a word, is of mean length.
        unseen = max(0, done - self.done - 1) + (ended is None)
        expected = ended.event.expected_s if ended is not None else 0.0
        self._left_s = max(0.0, self._left_s - expected - unseen * self._mean_s)
        self.done = done

    def remaining_s(self) -> float | None:
        """Expected seconds to the end; None where nothing is known, or all is late already."""
        if not self._left_s:
            return None
        now = self._clock()
        rests, spent = [0.0], 0.0
        for each in self.running:
            expected, so_far = each.event.expected_s, now - each.since
            rests.append(expected - so_far)
            spent += min(expected, so_far)
        rest = max((self._left_s - spent) / self._workers, *rests)
        return rest if rest > ROUNDING_S * (self.total + 1) else None

    def __str__(self) -> str:
        """`12/40 done (1 failed), 2 running, 20 hits, 14 s, about 1 min 2 s left`."""
        failed = f" ({self.failed} failed)" if self.failed else ""
        parts = [f"{self.done}/{self.total} done{failed}" if self.total else "planning"]
        if self.running:
            parts.append(f"{len(self.running)} running")
        if self.hits:
            parts.append(count(self.hits, "hit"))
        parts.append(elapsed(self.elapsed_s))
        rest = self.remaining_s()
        if rest is not None:
            parts.append(f"about {elapsed(max(1.0, rest))} left")
        return ", ".join(parts)
