"""What is told of each event in words, whatever shows it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from aot_build.events import (
    ActionFailed,
    ActionFinished,
    ActionRetried,
    BuildFinished,
    Event,
    Notice,
    PlanReady,
)
from aot_build.report.progress import which
from aot_build.report.summary import effort, verdict
from aot_build.report.wording import count, duration, first_line, outcome, plain

ALIKE = 3
"""One broken header fails four hundred variants in the same words: the tally counts the rest."""


class Verbosity(IntEnum):
    """How much is told."""

    QUIET = 0
    """Failures and notices."""
    NORMAL = 1
    VERBOSE = 2
    """A line for each action, too."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its newline, fit for any terminal."""

    text: str
    failure: bool = False


class Narration:
    """Makes lines of events; remembers which failures it told."""

    def __init__(self, verbosity: Verbosity) -> None:
        self._verbosity = verbosity
        self._told: Counter[tuple[str, str]] = Counter()

    def of(self, event: Event) -> Iterator[Line]:
        """The lines of one event; what none is made of is passed over."""
        normal = self._verbosity >= Verbosity.NORMAL
        match event:
            case Notice(text=text):
                yield from (Line(plain(line)) for line in text.splitlines())
            case ActionFailed():
                yield from self._failure(event)
            case ActionRetried() if normal:
                why = f"{outcome(event.outcome)} (attempt {event.attempt})"
                yield Line(f"retrying {which(event)}: {why}")
            case ActionFinished() if self._verbosity >= Verbosity.VERBOSE:
                place, took = f"[{event.done}/{event.total}]", duration(event.seconds)
                yield Line(f"{place} {which(event)} in {took}")
            # With nothing to build the last line says it all.
            case PlanReady() if normal and event.to_run:
                yield Line(_plan(event))
            case BuildFinished(summary=summary) if normal:
                yield Line(verdict(summary))
                if told := effort(summary):
                    yield Line(told)

    def _failure(self, event: ActionFailed) -> Iterator[Line]:
        why, first = outcome(event.outcome), first_line(event.reason)
        told = f"{why}: {first}" if first else why
        self._told[event.kernel, told] += 1
        if self._told[event.kernel, told] <= ALIKE or self._verbosity >= Verbosity.VERBOSE:
            yield Line(f"FAILED {which(event)}: {told}", failure=True)


def _plan(event: PlanReady) -> str:
    variants, hits = count(event.actions, "variant"), count(event.hits, "hit")
    stages = f" in {count(event.to_run + event.stages, 'action')}" if event.stages else ""
    return f"{variants}: {hits}, {event.to_run} to build{stages}"
