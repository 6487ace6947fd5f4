"""What the rooms tell: console, trace, summary and exit status all derive from these.

On the wire an event is one line of JSON with its class name under `event`:

    {"event": "ActionStarted", "kernel": "scale", "variant": "T=float", "target": "cpu"}

The standard library alone reads and writes it, so that a front end which only shows progress
imports nothing else.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from aot_build.errors import AotBuildError
from aot_build.rows import FailureRow as FailureRow
from aot_build.rows import MissRow as MissRow
from aot_build.rows import PlanRow as PlanRow
from aot_build.rows import VerifyRow as VerifyRow
from aot_build.rows import as_json, make, named, names_of, plan_row, verify_row


@dataclass(frozen=True, slots=True)
class Summary:
    """The outcome of a build. `actions`, `hits`, `executed` and `failed` count each variant x
    target once; what serves them counts in `helpers`. Times are in seconds."""

    actions: int = 0
    hits: int = 0
    executed: int = 0
    failed: int = 0
    retried: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    """CPU time of all that was executed, helpers and failures included."""
    critical_path_s: float = 0.0
    workers: int = 0
    helpers: int = 0
    cache_dir: str = ""
    failures: tuple[FailureRow, ...] = ()
    misses: tuple[MissRow, ...] = ()
    makespan_s: float = 0.0
    """From the first action's start to the last one's end."""
    lower_bound_s: float = 0.0
    """No order could have been over sooner: max(critical path, CPU time / workers)."""

    def to_json(self) -> str:
        """One line: the object that `build --json` prints and `AOT_BUILD_SUMMARY` receives."""
        values = asdict(self)
        for row in values["failures"]:
            del row["outcome"]
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> "Summary":
        """Read what `to_json` wrote. Raises ValueError."""
        return _summary(json.loads(text))


@dataclass(frozen=True, slots=True)
class BuildStarted:
    """A driver took up a build: the first event of it, and the head of its log."""

    uuid: str
    """Of this build alone; nothing that is kept depends on it."""
    version: str
    """Of aot-build."""
    format: int = 1
    """Of the log: readers pass over events and fields that they do not know."""


@dataclass(frozen=True, slots=True)
class PlanReady:
    """The graph is keyed and probed: `actions` = `hits` + `to_run`."""

    actions: int
    hits: int
    to_run: int
    stages: int = 0
    """Actions that must run before those of the variants."""
    workers: int = 0
    """How many actions may run at once."""
    expected_s: float = 0.0
    """Seconds that all of it took the last time, one after the other; 0 where nothing is known."""


@dataclass(frozen=True, slots=True)
class ActionStarted:
    """A worker took an action; emitted again for each attempt."""

    kernel: str
    variant: str
    target: str
    worker: int = 0
    """Number of the slot that it runs in, from 0: no two actions share one at a time."""
    expected_s: float = 0.0
    """How long it should take, from earlier builds; 0 where nothing is known."""
    stage: str = ""
    """What it does for the variants (`object`, `rows`, ...); empty where it is a variant's own."""


@dataclass(frozen=True, slots=True)
class ActionFinished:
    """An action is published. `done` of the `total` actions to run, as far as they are known, have
    ended, this included. `seconds` is 0 where another build had done the work meanwhile."""

    kernel: str
    variant: str
    target: str
    seconds: float
    done: int
    total: int
    worker: int = -1
    """The slot that it ran in, -1 where it did not run."""
    stage: str = ""
    cpu_s: float = 0.0
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ActionFailed:
    """An action failed for good. `log` is a path, empty where nothing was written."""

    kernel: str
    variant: str
    target: str
    outcome: str
    reason: str
    log: str = ""
    worker: int = -1
    stage: str = ""
    cpu_s: float = 0.0
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ActionRetried:
    """Attempt number `attempt` (from 1) ended abnormally; another one follows."""

    kernel: str
    variant: str
    target: str
    outcome: str
    attempt: int
    worker: int = -1
    stage: str = ""
    cpu_s: float = 0.0
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the user should know and that stops nothing."""

    text: str


@dataclass(frozen=True, slots=True)
class BuildFinished:
    """The build ran to its end, failed kernels or not."""

    summary: Summary
    package: str = ""
    """Import package that holds the artifacts; empty where nothing was to be built."""


@dataclass(frozen=True, slots=True)
class PlanListed:
    """The answer to a request for a plan alone."""

    rows: tuple[PlanRow, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifyListed:
    """The answer to a request for a verification."""

    rows: tuple[VerifyRow, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildError:
    """What `wait` is to raise: an error of errors.py, taken apart for the wire."""

    kind: str
    message: str
    fields: dict[str, str] = field(default_factory=dict)
    hint: str | None = None

    @classmethod
    def of(cls, error: AotBuildError) -> "BuildError":
        """Take an error apart."""
        return cls(error.kind, error.message, error.fields, error.hint)

    def error(self) -> AotBuildError:
        """Put it together again."""
        kinds = {kind.kind: kind for kind in AotBuildError.__subclasses__()}
        return kinds.get(self.kind, AotBuildError)(self.message, self.fields, self.hint)


Event = (
    BuildStarted
    | PlanReady
    | ActionStarted
    | ActionFinished
    | ActionFailed
    | ActionRetried
    | Notice
    | BuildFinished
    | BuildError
    | PlanListed
    | VerifyListed
)
Emit = Callable[[Event], None]

_CLASSES: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Event)}


def encode(event: Event) -> str:
    """One line of JSON, without the newline."""
    kind = type(event)
    values = {name: getattr(event, name) for name in names_of(kind)}
    return as_json({"event": kind.__name__, **values})


def decode(line: str) -> Event:
    """Read what `encode` wrote. Raises ValueError for anything else."""
    values = json.loads(line)
    kind = _CLASSES.get(values.pop("event", "")) if isinstance(values, dict) else None
    if kind is None:
        raise ValueError(f"not an event: {line[:80]!r}")
    if kind is BuildFinished:
        return BuildFinished(_summary(values.get("summary")), values.get("package", ""))
    if kind is PlanListed:
        return PlanListed(tuple(map(plan_row, values.get("rows", ()))))
    if kind is VerifyListed:
        return VerifyListed(tuple(map(verify_row, values.get("rows", ()))))
    event: Event = make(kind, values)
    return event


def _summary(values: Any) -> Summary:
    row = named(Summary, values)
    row["failures"] = tuple(make(FailureRow, each) for each in row.get("failures", ()))
    row["misses"] = tuple(make(MissRow, each) for each in row.get("misses", ()))
    return Summary(**row)
