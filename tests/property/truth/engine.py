"""Builds of a site: in this process with a pool that stays, or by the real command."""

import contextlib
import dataclasses
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from aot_build import snapshot
from aot_build.backends.registry import Registry
from aot_build.backends.work import ROWS_STAGE
from aot_build.build import build
from aot_build.core.toolchain import Toolchain
from aot_build.core.work import WorkOrder
from aot_build.errors import AotBuildError
from aot_build.events import Event
from aot_build.execute.protocol import Executor, Job, JobEnd
from aot_build.opening import open_workspace
from aot_build.request import Request
from aot_build.settings.load import load
from aot_build.workspace import Workspace
from tests.property.truth.oracle import Name
from tests.property.truth.project import Site

ROOT = Path(__file__).parents[3]
ROWS = "rows"
"""Name of the action that lists rows, among those of variants."""


@dataclass
class Built:
    """What one build came to. `executed` names each action that ran; rows from code as `ROWS`."""

    failed: bool
    executed: list[Name | str]
    succeeded: set[Name] = field(default_factory=set)
    """Variants that are there now: built or found."""
    edited: bool = False
    """Whether something was seen to be edited meanwhile."""
    told: str = ""


class Engine(Protocol):
    """Builds a site as it is now."""

    def build(self, site: Site, cache: Path | None = None) -> Built: ...

    def close(self) -> None: ...


class Watched:
    """An executor that notes what it runs and hands each build's environment to its workers."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self.slots = pool.slots
        self.refused: dict[str, str] = {}
        self.env: dict[str, str] = {}
        self.orders: list[WorkOrder] = []
        self.before_ends: list[Any] = []
        """Called once a job has ended, and before anybody hears of it."""

    def start(self) -> None:
        self._pool.start()

    def submit(self, job: Job) -> None:
        self.orders.append(_orders.decode(job.payload))
        self._pool.submit(dataclasses.replace(job, env={**job.env, **self.env}))

    def wait(self, timeout: float | None = None, wake: int | None = None) -> list[JobEnd]:
        ends = self._pool.wait(timeout, wake)
        while ends and self.before_ends:
            self.before_ends.pop()()
        return ends

    def sizes(self) -> Mapping[int, int]:
        return self._pool.sizes()

    def preload(self, modules: Sequence[str], *, trusted: bool = False) -> None:
        self._pool.preload(modules, trusted=trusted)

    def settled(self, modules: Sequence[str]) -> bool:
        return self._pool.settled(modules)

    def close(self) -> None:
        self._pool.close()


_orders = msgspec.msgpack.Decoder(WorkOrder)


class InProcess:
    """The storytellers as the driver calls them, and the real pool, which outlives a build.

    Left out are the driver's own process, the pot of tokens, syncs to the disk, asking a compiler
    of the same content a second time what it is made of, and looking for other people's backends.
    """

    def __init__(self) -> None:
        self._pool: Watched | None = None
        self._seed = ""
        """Of the hashes of its workers, which have the umask and the slots of that time as well."""
        self._toolchains: dict[object, Toolchain] = {}
        self._registry = Registry()
        self._options = self._registry.options()
        self.events: list[Event] = []

    def build(self, site: Site, cache: Path | None = None) -> Built:
        env = site.environment()
        if cache is not None:
            env["AOT_BUILD_CACHE_DIR"] = str(cache)
        request = Request(project=os.path.realpath(site.project))
        with _environment(env), _umask(site.umask), _hurried():
            fresh = snapshot.fresh(request.project, request.shape) is not None
            try:
                built = self._build(site, request, env)
            except AotBuildError as error:
                return Built(True, [], told=str(error))
        # What the fast path would have said of it.
        assert not (fresh and (built.executed or built.failed)), "the snapshot held, wrongly"
        return built

    def during_next(self, change: Any) -> None:
        """Call this in the next build, when its first job has ended and nobody knows it yet."""
        assert self._pool is not None
        self._pool.before_ends[:] = [change]

    def finish(self) -> None:
        """Where nothing ran, it is called now."""
        assert self._pool is not None
        while self._pool.before_ends:
            self._pool.before_ends.pop()()

    def _build(self, site: Site, request: Request, env: dict[str, str]) -> Built:
        began = time.time_ns()
        self.events.clear()
        settings = load(
            Path(request.project),
            backends=self._options,
            serves=self._registry.serves,
            env=env,
        )
        assert settings is not None
        workspace = open_workspace(settings, self._registry, self.events.append)
        try:
            pool = self._lend(workspace, site, env)
            summary = build(workspace, request, began)
            self._keep_toolchain(workspace, site)
            edited = bool(workspace.edited)
        finally:
            # The pool is not the workspace's to close.
            workspace.pool_started = False
            workspace.close()
            close = getattr(workspace.store, "close", None)
            if close is not None:
                close()
        return Built(
            failed=bool(summary.failures),
            executed=[_name(order) for order in pool.orders],
            succeeded=set() if summary.failures else {*_shipped(site)},
            edited=edited,
            told=str(summary.failures),
        )

    def _lend(self, workspace: Workspace, site: Site, env: dict[str, str]) -> Watched:
        lent: dict[str, Any] = vars(workspace)
        lent["tokens"] = None
        if self._pool is None or self._seed != site.seed:
            self.close()
            varied = dict(env)
            workspace.env = {"PATH": env["PATH"], "PYTHONHASHSEED": site.seed}
            self._pool, self._seed = Watched(workspace.executor), site.seed
            self._pool.start()
            workspace.env = varied
        self._pool.orders.clear()
        self._pool.env = {name: value for name, value in env.items() if name != "PYTHONHASHSEED"}
        lent["executor"] = self._pool
        if known := self._toolchains.get(_compiler(site)):
            workspace.toolchains["cxx"] = known
        return self._pool

    def _keep_toolchain(self, workspace: Workspace, site: Site) -> None:
        if found := workspace.toolchains.get("cxx"):
            self._toolchains[_compiler(site)] = found

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None


class ByCommand:
    """`aot-build build`, in a process of its own, with all that belongs to it."""

    def build(self, site: Site, cache: Path | None = None) -> Built:
        env = {**site.environment(), "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": site.seed}
        if cache is not None:
            env["AOT_BUILD_CACHE_DIR"] = str(cache)
        ended = subprocess.run(
            [sys.executable, "-m", "aot_build", "build", "--json", "--project", site.project],
            env=env, umask=site.umask, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert ended.returncode in (0, 1, 2), ended.stderr
        if not ended.stdout.strip():
            return Built(True, [], told=ended.stderr)
        summary = json.loads(ended.stdout.splitlines()[-1])
        shipped = {*_shipped(site)} if ended.returncode == 0 else set()
        labels = {_label(name): name for name in shipped}
        ran = [labels.get((m["kernel"], m["target"], m["variant"])) for m in summary["misses"]]
        edited = "edited during the build" in ended.stderr
        executed = [name for name in ran if name is not None]
        return Built(ended.returncode != 0, executed, shipped, edited, ended.stderr)

    def close(self) -> None:
        pass


def _compiler(site: Site) -> object:
    if site.recorder is None:
        return ""
    return site.compiler, site.root, (site.root / site.compiler).read_bytes()


def _name(order: WorkOrder) -> Name | str:
    action = order.action
    if action.stage == ROWS_STAGE:
        return ROWS
    row = tuple((str(name), value) for name, value in dict(action.params)["row"])
    return action.kernel, action.target, row


def _label(name: Name) -> tuple[str, str, str]:
    kernel, target, row = name
    return kernel, target, " ".join(f"{column}={value}" for column, value in row)


def _shipped(site: Site) -> Iterator[Name]:
    for kernel, target, row, _ in manifest_rows(site):
        yield kernel, target, row


def manifest_rows(site: Site) -> Iterator[tuple[str, str, Any, dict[str, Any]]]:
    """Kernel, target, row and files of each variant of the manifest."""
    result = site.project / "build" / "aot" / "demo" / "_aot"
    manifest = json.loads((result / "manifest.json").read_bytes())
    for kernel, entry in manifest["kernels"].items():
        for variant in entry["variants"]:
            row = tuple(sorted(variant["row"].items()))
            yield kernel, variant["target"], row, variant["files"]


@contextlib.contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def _hurried() -> Iterator[None]:
    """No power is lost while a test runs, and no memory is short."""
    before = os.fsync
    os.fsync = lambda descriptor: None
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        os.fsync = before
