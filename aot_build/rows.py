"""Rows of the answers that events carry: what failed, what was missing, what a plan says.

Ground of the events: whoever wants them finds them there. JSON in, JSON out, with the standard
library alone.
"""

import json
from dataclasses import dataclass, fields
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FailureRow:
    """One variant that has no artifact. `outcome` is that of `core.result.Failure`."""

    kernel: str
    variant: str
    target: str
    reason: str
    log: str = ""
    outcome: str = "error"
    """For the tally. The published summary leaves it out: its keys are a contract."""


@dataclass(frozen=True, slots=True)
class MissRow:
    """One variant that had to be built, and what changed."""

    kernel: str
    variant: str
    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One thing that is not what it was; see `core.result.Change`."""

    family: str
    component: str
    was: str
    now: str
    path: str = ""
    """Absolute; empty where no file or folder stands behind it."""
    since: str = ""
    """ISO 8601, local: when the path was last changed; where it is gone, when it was last seen."""


@dataclass(frozen=True, slots=True)
class StageRow:
    """One action that serves a variant: an object of a library, a question to its code."""

    stage: str
    source: str
    hit: bool
    reason: str = ""
    family: str = ""
    changes: tuple[ChangeRow, ...] = ()
    more_changes: int = 0
    seconds: float = 0.0
    last: str = ""
    built_at: str = ""
    built_family: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One variant of a plan: a hit, or what would be built and why."""

    kernel: str
    variant: str
    target: str
    hit: bool
    reason: str = ""
    seconds: float = 0.0
    """How long it took to build the last time; 0 where that is not known."""
    last: str = ""
    """Why it was built the last time that it was; empty where that is not known."""
    failed: bool = False
    """Whether it cannot be planned, as the code that it needs to ask fails; `reason` says how."""
    family: str = ""
    """Of the reason: one of `core.result.FAMILIES`."""
    changes: tuple[ChangeRow, ...] = ()
    """All that changed, the reason first. Of a variant that was never built: what its row differs
    in from the nearest of those that are gone."""
    more_changes: int = 0
    """How many besides."""
    built_at: str = ""
    """When it was built here the last time that it was: ISO 8601, local."""
    built_family: str = ""
    """Of the reason in `last`."""
    key: str = ""
    """The action key; of a miss the base key, as nobody knows yet what it will read."""
    expected_s: float = 0.0
    """How long a miss should take, its stages included; 0 where nothing is known."""
    name: str = ""
    """In the build log."""
    stages: tuple[StageRow, ...] = ()
    """The actions before its own."""
    helpers: tuple[StageRow, ...] = ()
    """The questions to the project's code that it was planned by."""


@dataclass(frozen=True, slots=True)
class DifferenceRow:
    """Where the bytes of one artifact are others; sizes and offsets in bytes."""

    artifact: str
    """Its name; `metadata` is what the manifest says of the variant, as JSON."""
    kept_size: int
    """Of what the cache has; -1 where it has none."""
    now_size: int
    offset: int = 0
    """Of the first byte that differs, in what is kept."""
    differing: int = 0
    """How many bytes differ; those that one is longer by among them."""
    places: int = 0
    """How many runs of them there are, less than 9 equal bytes apart counted as one."""
    sections: tuple[str, ...] = ()
    """Of an ELF file: the sections whose bytes are others; `headers` where none is."""
    kept: str = ""
    """The neighbourhood of the first difference: text, else hexadecimal after its offset."""
    now: str = ""
    hint: str = ""
    """What usually makes such a difference, where the bytes show it."""


@dataclass(frozen=True, slots=True)
class VerifyRow:
    """One variant that was built again. `verdict` is same, different, failed or unbuilt."""

    kernel: str
    variant: str
    target: str
    verdict: str
    detail: str = ""
    differences: tuple[DifferenceRow, ...] = ()
    stage: str = ""
    """What it does for the variants; empty where it is a variant itself."""


@dataclass(frozen=True, slots=True)
class RuntimeRow:
    """One thing that production would ask the shipped kernels for, and what came of it.

    `verdict` is found; compiles: nothing that ships serves it, so that it would be compiled;
    missing: the same of a kernel that nobody compiles at run time; damaged: a shipped file is gone
    or has other bytes; failed: it could not be looked up, or did not run on the GPU that is here;
    undeclared: it ships, and nothing that is declared asks for it; hidden: the package does not
    show its kernels to ordinary launches when it is imported.
    """

    kernel: str
    variant: str
    target: str
    verdict: str
    detail: str = ""
    nearest: str = ""
    """The shipped variant that differs least; empty where there is none."""
    changes: tuple[ChangeRow, ...] = ()
    """What it differs in: `was` is what ships, `now` what was asked for."""
    ran: str = ""
    """How far it went on this machine: `loaded` or `launched`; empty where nothing here runs it."""


def as_json(value: Any) -> str:
    """JSON of rows, and of what holds them. (`asdict` copies deeply: of 10,000 variants that would
    take longer than to plan them.)"""
    return json.dumps(value, default=_members)


def _members(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names_of(type(row))}


def names_of(kind: type[Any]) -> tuple[str, ...]:
    """The fields of a dataclass."""
    found = _names.get(kind)
    if found is None:
        found = _names[kind] = tuple(each.name for each in fields(kind))
    return found


_names: dict[type[Any], tuple[str, ...]] = {}


def plan_row(values: Any) -> PlanRow:
    """Read one, with what it holds. Raises ValueError, as all these do."""
    known = named(PlanRow, values)
    for name in ("stages", "helpers"):
        known[name] = tuple(_changed(StageRow, each) for each in known.get(name, ()))
    return _changed(PlanRow, known)


def verify_row(values: Any) -> VerifyRow:
    """Read one, with what it holds."""
    known = named(VerifyRow, values)
    found = [named(DifferenceRow, each) for each in known.get("differences", ())]
    rows = [make(DifferenceRow, {**d, "sections": tuple(d.get("sections", ()))}) for d in found]
    return make(VerifyRow, {**known, "differences": tuple(rows)})


def runtime_row(values: Any) -> RuntimeRow:
    """Read one, with what it holds."""
    return _changed(RuntimeRow, values)


def _changed(kind: type[T], values: Any) -> T:
    """A row that tells changes."""
    known = named(kind, values)
    known["changes"] = tuple(make(ChangeRow, each) for each in known.get("changes", ()))
    return make(kind, known)


def make(kind: type[T], values: Any) -> T:
    """A row that holds no others."""
    try:
        return kind(**named(kind, values))
    except TypeError as error:
        raise ValueError(f"not a {kind.__name__}: {error}") from None


def named(kind: type[Any], values: Any) -> dict[str, Any]:
    """The fields that this version knows: a newer writer may add some."""
    if not isinstance(values, dict):
        raise ValueError(f"not a {kind.__name__}: {values!r}")
    return {name: values[name] for name in names_of(kind) if name in values}
