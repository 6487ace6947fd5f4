"""What a worker is handed, and what it hands back."""

from dataclasses import dataclass, field
from typing import Any

from aot_build.core.action import Action
from aot_build.core.trace import Trace
from aot_build.core.trespass import Trespass


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """One action with the places where it happens: all paths are absolute."""

    action: Action
    roots: dict[str, str]
    """Role -> directory, for decoding the action's paths and encoding the trace."""
    out_dir: str
    """Empty and existing; every file left here is an output."""
    scratch: str
    """Empty and existing; deleted afterwards. TMPDIR points here."""
    import_roots: tuple[str, ...] = ()
    """Put first on `sys.path` of Python actions."""
    tools: str = ""
    """Folder of the stand-ins for build tools, which each build writes for itself: no input."""
    package: str = ""
    """Import package that the result will ship in."""
    runtime: str = ""
    """Path of the source of the runtime module."""


@dataclass(frozen=True, slots=True)
class WorkReport:
    """`error` is None where the action did its work; else the text that the user reads first."""

    trace: Trace = field(default_factory=Trace)
    """Without distributions: the driver knows who owns the packages."""
    packages: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Import name in site-packages -> the files by role that were read of it; none where the
    project's code asked for it in vain."""
    metadata: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    outcome: str = "error"
    """What kind of an end `error` is (core.result.Failure): a backend that asks a compiler outside
    of this process knows best whether it would fare better another time."""
    gap: str = ""
    """Why the trace may lack something, for once: its result must not be kept."""
    trespasses: tuple[Trespass, ...] = ()
    imports: tuple[str, ...] = ()
    """Modules of installed packages that it asked for, in that order: an action alike would find
    them imported, had somebody imported them before."""
