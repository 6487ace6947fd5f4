"""The rooms, opened for one build of one project: what plan, stations and build share."""

import contextlib
import errno
import fcntl
import importlib
import itertools
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from aot_build import snapshot
from aot_build.backends.registry import BUILT_IN, Registry
from aot_build.backends.tracing.library import Library, preloaded
from aot_build.backends.work import ENTRY
from aot_build.compilers import find_toolchain
from aot_build.core.kernel import Variant
from aot_build.core.roles import Roles
from aot_build.core.store import Store
from aot_build.core.toolchain import Toolchain
from aot_build.core.trace import Trace
from aot_build.core.trespass import Trespass
from aot_build.digest import blob_digest, key_digest
from aot_build.errors import EnvironmentProblem
from aot_build.events import Emit, Notice
from aot_build.execute.admission import LEAST, Admission
from aot_build.execute.jobserver import Guest, Jobserver, open_tokens
from aot_build.execute.limits import worker_slots
from aot_build.execute.pool import LocalPool
from aot_build.execute.protocol import Executor
from aot_build.execute.scheduler import Tally
from aot_build.execute.tools import for_workers
from aot_build.files import StatIndex, stamp_ns
from aot_build.graph.closure import ClosureReader
from aot_build.graph.rebuilder import Rebuilder, Surroundings
from aot_build.locking import locked
from aot_build.obeyed import LookedUp
from aot_build.preloads import Preloads
from aot_build.settings import Settings
from aot_build.store.history import History
from aot_build.store.local import LocalStore
from aot_build.store.locks import Locks
from aot_build.store.log import NAME as LOG
from aot_build.store.log import BuildLog
from aot_build.store.tiered import Tiered
from aot_build.surroundings import surroundings
from aot_build.toolchains.distributions import Distributions
from aot_build.tracers import find_tracer

ROOM = "aot_build.backends"
LITTLE_ROOM = 16 << 20
"""Bytes that are free on a disk of which an action that could not write may be speaking."""


@dataclass
class Workspace:
    """One build's rooms. Close it, whatever happens."""

    settings: Settings
    registry: Registry
    env: Mapping[str, str]
    emit: Emit
    addresses: Sequence[str] = ()
    """Of a pot of CPU tokens that belongs to whoever asked for the build."""

    def __post_init__(self) -> None:
        self._opened_ns = stamp_ns()
        self.folder = self.settings.project.joinpath(*snapshot.FOLDER)
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        self.work, self._work_lock = self._claim_work_folder()
        self.index = StatIndex(self.folder / "digests-v1")
        self.contents = StatIndex(self.folder / "contents-v1", blob_digest)
        """SHA-256 of files of distributions that were touched after they were installed."""
        records = self.folder / "distributions-v1"
        self.distributions = Distributions(self.index.digest, self.contents.digest, records)
        self.log = BuildLog(self.folder / LOG)
        self.cached = True
        """Whether results are kept in the cache directory."""
        self.store, locks = self._open_store()
        self.locks = Locks(locks)
        self.toolchains: dict[str, Toolchain] = {}
        self.lacking: dict[str, EnvironmentProblem] = {}
        """Toolchains that are not found, of kernels that may be left out."""
        self.left_out: list[str] = []
        """What was told of these kernels: a build that has nothing to do tells it again."""
        self.roots = {"project": str(self.settings.project)}
        self.pool_started = False
        self._preloaded: set[str] = set()
        self.tally = Tally()
        self._ids = itertools.count()
        self.obeyed = LookedUp(self.env)
        """The environment as backends see it: what they pick from it is watched."""
        self._traces: dict[int, Trace] = {}
        self.edited: set[str] = set()
        """Inputs that changed while they were being used: this build is no snapshot."""
        self.trespasses: set[tuple[str, Trespass]] = set()
        """What was told of kernels that touch what they have no business with."""

    def _open_store(self) -> tuple[Store, Path]:
        """The cache directory, and where its locks are.

        Where it cannot be written, a store for this build alone goes before it.
        """
        wanted = self.settings.cache_dir
        try:
            return LocalStore(wanted), wanted
        except OSError as error:
            self.cached = False
            own = LocalStore(self.work / "store")
            if not os.access(wanted, os.R_OK | os.X_OK) or not wanted.is_dir():
                self.emit(Notice(f"building without a cache: {wanted} is not writable ({error})"))
                return own, own.root
            self.emit(Notice(f"{wanted} is not writable: it is read, and nothing is added to it"))
            return Tiered(own, LocalStore(wanted, writable=False)), own.root

    def leave_cache(self, error: OSError) -> None:
        """Go on without the cache directory, which takes no more."""
        if not self.cached:
            raise self._no_room(error) from error
        self.emit(Notice(f"going on without a cache: {error}"))
        self.cached = False
        self.store = Tiered(LocalStore(self.work / "store"), self.store)

    def check_room(self, reason: str) -> None:
        """An action has failed. Raise EnvironmentProblem where no other could do better: one line
        for the disk rather than one for each kernel."""
        found = os.statvfs(self.work)
        full = found.f_bavail == 0 or (found.f_files and found.f_favail == 0)
        # It may have been another disk that was full, or this one until somebody gave up.
        low = found.f_bavail * found.f_frsize < LITTLE_ROOM
        if full or (low and os.strerror(errno.ENOSPC) in reason):
            raise self._no_room(os.strerror(errno.ENOSPC))

    def _no_room(self, error: object) -> EnvironmentProblem:
        return EnvironmentProblem(
            "no room for this build's own outputs",
            {"folder": self.folder, "error": error},
            "free some disk space and build again: what had finished is kept",
        )

    def _claim_work_folder(self) -> tuple[Path, int]:
        """A folder for outputs and scratch, locked for as long as this process lives."""
        folder = self.folder / f"work-{os.getpid()}-{secrets.token_hex(4)}"
        # One build at a time: a folder that is not locked yet must not be taken for a leftover.
        with locked(self.folder / "work.lock", exclusive=True):
            self._remove_leftovers()
            folder.mkdir()
            descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        return folder, descriptor

    def _remove_leftovers(self) -> None:
        """Work folders of builds that were killed: nobody holds their locks."""
        for folder in self.folder.glob("work-*"):
            with contextlib.suppress(OSError):
                descriptor = os.open(folder, os.O_RDONLY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
                finally:
                    os.close(descriptor)

    @cached_property
    def roles(self) -> Roles:
        """Roots of all paths; `add_root` makes it anew."""
        if sys.prefix == sys.base_prefix:
            return Roles(self.roots)
        return Roles({"env": os.path.realpath(sys.prefix), **self.roots})

    def add_root(self, role: str, folder: str) -> None:
        """Give a folder a role: from here on its paths are written by it."""
        self.roots[role] = folder
        for stale in ("roles", "closures", "rebuilder"):
            self.__dict__.pop(stale, None)

    @cached_property
    def closures(self) -> ClosureReader:
        """Reads closures of this build."""
        return ClosureReader(self.roles, self.index, self.distributions.identity, self.env)

    @cached_property
    def rebuilder(self) -> Rebuilder:
        """Probes the store of this build."""
        strict = self.settings.strict
        return Rebuilder(self.store, self.closures, self.surroundings, strict=strict)

    @property
    def surroundings(self) -> Surroundings:
        """How people call what keys hold as digests."""
        return surroundings(self.toolchains, self.roles, self.index.digest)

    @cached_property
    def tokens(self) -> Jobserver | Guest | None:
        """The pot of CPU tokens, shared with whatever else builds beside this, and with tools
        that workers start; None where the system has none."""
        return open_tokens(self.addresses, self.slots)

    @cached_property
    def tracer(self) -> Library:
        """What actions are traced with; where there is none, others have to tell."""
        places = [self.settings.cache_dir, self.folder] if self.cached else [self.folder]
        return find_tracer(self.settings, self.env, self.toolchains, self.emit, places, self.work)

    @cached_property
    def executor(self) -> Executor:
        """The pool, started when something is to run."""
        self.pool_started = True
        env = for_workers(self.env, self.tokens.path, self.folder) if self.tokens else self.env
        return LocalPool(
            self.slots,
            env=preloaded(env, self.tracer),
            preload=(ENTRY.partition(":")[0], *(p.partition(":")[0] for p in BUILT_IN.values())),
            log=self.folder / "forkserver.log",
        )

    def expect_work(self) -> None:
        """Something is missing: the pool gets ready while the rest is planned."""
        if not self.pool_started:
            self.executor.start()

    @cached_property
    def preloads(self) -> Preloads:
        """What actions imported in earlier builds: read when something is to run."""
        given = self.settings
        return Preloads(given.cache_dir, given.package, self.distributions, given.import_roots)

    @cached_property
    def history(self) -> History:
        """What actions took in earlier builds: read when something is to run."""
        return History(self.settings.cache_dir, self.settings.package)

    def keep_history(self) -> None:
        """For the next build: it will order its work by what this one took, and find imported
        what this one's workers imported."""
        if not self.cached or not self.pool_started:
            return
        self.history.save()
        self.preloads.save([spec.name for spec in self.settings.kernels], self.executor.refused)

    @cached_property
    def admission(self) -> Admission:
        """Lets work start while memory lasts."""
        admission = Admission(guess=self.settings.memory_per_worker)
        for family, peak in self.history.peaks().items():
            admission.learn(family, max(peak, LEAST))
        return admission

    def tick_after_opening(self) -> int:
        """Now, as files are stamped. What was edited before this build is older: of two stamps of
        one tick of the clock nobody knows which came first."""
        while (now := stamp_ns()) == self._opened_ns:
            time.sleep(0.001)
        return now

    def next_id(self) -> int:
        """A number that no other action of this build has."""
        return next(self._ids)

    @property
    def slots(self) -> int:
        """How many actions run at once."""
        return worker_slots(self.settings.jobs)

    def toolchain(self, name: str) -> Toolchain:
        """A toolchain by name, found once a build. Raises EnvironmentProblem."""
        if name not in self.toolchains:
            self.toolchains[name] = found = find_toolchain(
                name, self.env, self.index.digest, self.distributions, self.registry,
                self.toolchain, self.folder,
            )  # fmt: skip
            if found.root:
                self.add_root(found.role, found.root)
        return self.toolchains[name]

    def has_toolchain(self, name: str) -> bool:
        """Whether a toolchain is found; where it is not, `lacking` says why."""
        try:
            self.toolchain(name)
        except EnvironmentProblem as problem:
            self.lacking[name] = problem
        return name in self.toolchains

    def toolchain_for(self, name: str, variant: Variant) -> Toolchain:
        """A toolchain; where it is not found, the error says which kernel asked for it."""
        try:
            return self.toolchain(name)
        except EnvironmentProblem as problem:
            raise EnvironmentProblem(
                f"toolchain not found for kernel {variant.kernel.name!r}: {problem.message}",
                {"target": variant.target, **problem.fields},
                problem.hint,
            ) from problem

    def unloaded(self, modules: Iterable[str]) -> tuple[str, ...]:
        """Those that workers do not find imported yet."""
        return tuple(name for name in modules if name not in self._preloaded)

    def preload(self, modules: Iterable[str]) -> None:
        """Have all later actions find these modules imported: backends vouch for them."""
        young = self.unloaded(modules)
        self._preloaded.update(young)
        if young:
            self.executor.preload(young, trusted=True)

    def preload_for(self, kernels: Iterable[str]) -> None:
        """Have actions of these kernels, a name an action, find imported what they will import, as
        far as earlier builds tell and a trial allows."""
        if modules := self.preloads.wanted(kernels):
            self.executor.preload(modules)

    def code_digest(self, module: str) -> str:
        """Digest of a module's source, or of all that lie in the package of a backend that is
        one: salt for the keys of what it does."""
        found = importlib.import_module(module).__file__
        package, _, _ = module.rpartition(".")
        if found and package.rpartition(".")[0] == ROOM:
            sources = sorted(Path(found).parent.glob("*.py"))
            return key_digest([(path.name, self.index.digest(str(path))) for path in sources])
        return (self.index.digest(found) if found else None) or module

    def remember(self, trace: Trace) -> None:
        """Count what a trace names among the inputs of this build."""
        # By identity: thousands of variants may share a trace of thousands of files.
        self._traces[id(trace)] = trace

    @property
    def traces(self) -> Iterable[Trace]:
        """What this build relied upon: the snapshot watches it."""
        return self._traces.values()

    def close(self) -> None:
        """Leave no process, lock or temporary file."""
        try:
            if self.pool_started:
                self.executor.close()
        finally:
            if "tokens" in self.__dict__ and self.tokens is not None:
                self.tokens.close()
            self.locks.close()
            shutil.rmtree(self.work, ignore_errors=True)
            os.close(self._work_lock)
