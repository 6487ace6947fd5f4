"""Settings -> kernel specs -> variants -> keyed actions -> what a probe says of each.

Runs no compile action. Functions that list rows are run (they are cached analysis actions).
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from aot_build.analyses import Analyses, Group, Resolved
from aot_build.backends.protocol import Backend, Staging
from aot_build.core.action import Action
from aot_build.core.configuration import Configuration
from aot_build.core.kernel import KernelSpec, Variant
from aot_build.core.manifest import variant_id
from aot_build.core.result import Failure
from aot_build.core.toolchain import Toolchain
from aot_build.digest import key_digest
from aot_build.errors import InputError, did_you_mean
from aot_build.events import FailureRow, Notice
from aot_build.execute.scheduler import Task
from aot_build.graph.rebuilder import Decision
from aot_build.listings import Listing, Listings
from aot_build.outcome import Asked
from aot_build.paths import Paths
from aot_build.pipelines.modes import mode_flags
from aot_build.settings import Settings
from aot_build.specs import RawRow, config_files, read_rows, variants
from aot_build.stages import decide
from aot_build.stations import Stations
from aot_build.workspace import Workspace

Place = tuple[int, int]
"""Of some variants in a plan: number of the kernel, number of the target."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One variant with its action and what the probe found."""

    variant: Variant
    toolchain: Toolchain
    decision: Decision

    name: str
    """Names the variant in the build log."""
    stages: tuple[Decision, ...] = ()
    """What the probe found of the actions before its own."""

    def stage_name(self, number: int) -> str:
        """Names one of them in the build log."""
        return f"{self.name}|{number}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Every variant of a build, in the order of declaration."""

    planned: tuple[Planned, ...]
    helpers: int
    """Actions that served the plan: functions that listed rows, analyses of kernels."""
    failures: tuple[FailureRow, ...] = ()
    """Kernels and rows that could not be made out; they have no variants here."""
    asked: tuple[Asked, ...] = ()
    """The questions to the project's code that have an answer, by name."""

    @property
    def hits(self) -> int:
        """How many need not run."""
        return sum(p.decision.result is not None for p in self.planned)

    @property
    def missing_stages(self) -> int:
        """How many actions must run before those of the variants."""
        return len({s.base_key for p in self.planned for s in p.stages if s.result is None})


def make_plan(workspace: Workspace, kernels: Sequence[str] | None = None) -> Plan:
    """Plan every declared kernel, or those named. Raises InputError, EnvironmentProblem."""
    return Planner(Stations(workspace)).plan(kernels)


def _failed_listing(spec: KernelSpec, function: str, failure: Failure) -> FailureRow:
    targets = ", ".join(map(str, spec.targets))
    label = f"rows of {function}"
    return FailureRow(spec.name, label, targets, failure.reason, failure.log, failure.outcome)


def _broken_row(spec: KernelSpec, where: str, reason: str) -> FailureRow:
    return FailureRow(spec.name, where, ", ".join(map(str, spec.targets)), reason)


def _failed(variant: Variant, failure: Failure) -> FailureRow:
    v, f = variant, failure
    return FailureRow(v.kernel.name, v.label, str(v.target), f.reason, f.log, f.outcome)


def served(settings: Settings, names: Sequence[str] | None) -> Sequence[str] | None:
    """The names without those of kernels that no target is for; all of them where none is left."""
    awake = [name for name in names or () if name not in settings.unserved]
    return awake or names


def _chosen(settings: Settings, names: Sequence[str] | None) -> list[KernelSpec]:
    if names is None:
        return list(settings.kernels)
    known = {spec.name for spec in settings.kernels}
    for name in names:
        if name not in known:
            raise not_built(settings, name, known)
    return [spec for spec in settings.kernels if spec.name in names]


def not_built(settings: Settings, name: str, known: Collection[str]) -> InputError:
    """Why a kernel that somebody names is none of those that are known."""
    if asleep := settings.unserved.get(name):
        return InputError(f"kernel {name!r} is not built", {"note": asleep})
    return InputError(f"no kernel is called {name!r}", hint=did_you_mean(name, known))


class Planner:
    """Makes one plan; what must be asked of the project's code is asked side by side."""

    def __init__(
        self,
        stations: Stations,
        planned: Callable[[Planned], Iterable[Task]] = lambda planned: (),
        ready: Callable[[Plan], None] = lambda plan: None,
    ) -> None:
        """`planned` is told of each variant as soon as it is planned: what it gives is run along
        with the questions. `ready` is told the plan as soon as it is whole."""
        self._stations = stations
        self._space = stations.space
        self._told, self._ready = planned, ready
        self._open = 0
        """Kernels and groups of variants that are not planned yet."""
        self._paths = Paths(self._space)
        self._listings = Listings(stations)
        self._analyses = Analyses(stations, self._configuration, self._filled)
        self._planned: dict[Place, list[Planned]] = {}
        self._failures: dict[Place, list[FailureRow]] = {}
        self._salts: dict[str, str] = {}
        self._configurations: dict[tuple[str, str], Configuration] = {}

    def plan(self, kernels: Sequence[str] | None) -> Plan:
        """Plan every declared kernel, or those named; run whatever `planned` gave."""
        specs = self._available(_chosen(self._space.settings, kernels))
        # All that can be seen to be wrong is told before anything runs.
        read = [self._read(spec) for spec in specs]
        tasks: list[Task] = []
        self._open = 1 + len(specs)
        for number, (spec, (rows, functions)) in enumerate(zip(specs, read, strict=True)):
            tasks += self._listed(number, spec, rows, functions)
        if missing := self._analyses.missing:
            self._space.emit(Notice(f"looking into {missing} kernels before they can be planned"))
        self._settle(0)
        self._stations.run(tasks)
        return self._plan()

    def _available(self, specs: list[KernelSpec]) -> list[KernelSpec]:
        """Without those that may be left out, and whose toolchain is not found."""
        found, told = [], set()
        for spec in specs:
            toolchain = self._space.registry.get(spec.backend).toolchain
            if spec.required or self._space.has_toolchain(toolchain):
                found.append(spec)
            elif spec.name not in told:
                problem = self._space.lacking[toolchain]
                text = f"{spec.name} is left out: {problem.message}; {problem.hint}"
                self._space.left_out.append(text)
                self._space.emit(Notice(text))
                told.add(spec.name)
        return found

    def _settle(self, opened: int) -> None:
        """One is planned, and has opened others."""
        self._open += opened - 1
        if not self._open:
            self._ready(self._plan())

    def _plan(self) -> Plan:
        planned = [p for place in sorted(self._planned) for p in self._planned[place]]
        failures = [f for place in sorted(self._failures) for f in self._failures[place]]
        distinct = {stage.base_key for p in planned for stage in p.stages}
        helpers = self._listings.count + self._analyses.count + len(distinct)
        asked = sorted((*self._listings.asked, *self._analyses.asked), key=lambda a: a.record)
        return Plan(tuple(planned), helpers, tuple(failures), tuple(asked))

    # Rows and variants

    def _read(self, spec: KernelSpec) -> tuple[list[RawRow], list[str]]:
        """The rows that lie in files, and the functions that yield others."""
        project = self._space.settings.project
        for file in config_files(spec, project):
            self._space.index.digest(str(file))
        rows, functions = read_rows(spec, project)
        for function in functions:
            self._paths.check_importable(function, f"configs of kernel {spec.name!r}")
        return rows, list(functions)

    def _listed(
        self, number: int, spec: KernelSpec, rows: list[RawRow], functions: list[str]
    ) -> Iterable[Task]:
        """Ask the first of the functions for its rows, then the others; then go on."""
        if not functions:
            return self._grouped(number, spec, rows)
        function, *others = functions

        def listed(found: Listing | Failure) -> Iterable[Task]:
            failures = self._failures.setdefault((number, -1), [])
            if isinstance(found, Failure):
                failures.append(_failed_listing(spec, function, found))
                self._settle(0)
                return ()
            failures += [_broken_row(spec, *broken) for broken in found.broken]
            return self._listed(number, spec, rows + found.rows, others)

        return self._listings.ask(spec, function, listed)

    def _grouped(self, number: int, spec: KernelSpec, rows: list[RawRow]) -> list[Task]:
        groups: dict[str, list[Variant]] = {}
        for variant in self._variants(spec, rows):
            groups.setdefault(str(variant.target), []).append(variant)
        tasks: list[Task] = []
        self._settle(len(groups))
        for place, group in enumerate(map(tuple, groups.values())):
            tasks += self._analyses.ask(group, self._resolved((number, place), group))
        return tasks

    def _resolved(self, place: Place, group: Group) -> Resolved:
        def resolved(found: Group | Failure) -> Iterable[Task]:
            if isinstance(found, Failure):
                self._failures[place] = [_failed(variant, found) for variant in group]
                self._settle(0)
                return ()
            planned = self._planned[place] = self._plan_all(found)
            tasks = [task for each in planned for task in self._told(each)]
            self._settle(0)
            return tasks

        return resolved

    def _plan_all(self, found: Group) -> list[Planned]:
        planned = []
        for variant, action in [(variant, self._action(variant)) for variant in found]:
            toolchain = self._configuration(variant).toolchain
            name = f"{variant.kernel.name}|{variant.target}|{variant_id(variant)}"
            stages = self._stages(variant, name)
            decision = decide(self._space, action, stages, name)
            planned.append(Planned(variant, toolchain, decision, name, stages))
        return planned

    def _variants(self, spec: KernelSpec, rows: list[RawRow]) -> list[Variant]:
        found, skipped = variants(spec, rows, enabled=self._space.settings.targets)
        if skipped.targets:
            counts = ", ".join(f"{count} for {target}" for target, count in skipped.targets)
            self._space.emit(Notice(f"{spec.name}: left out rows of other targets: {counts}"))
        backend = self._space.registry.get(spec.backend)
        for variant in found:
            backend.check(variant)
        return [self._paths.by_role(variant, backend) for variant in found]

    # Actions

    def _action(self, variant: Variant) -> Action:
        backend = self._space.registry.get(variant.kernel.backend)
        return self._filled(backend.action(variant, self._configuration(variant)), variant)

    def _filled(self, action: Action, variant: Variant) -> Action:
        inputs = tuple((path, self._digest(path, variant)) for path, _ in action.inputs)
        return dataclasses.replace(action, inputs=inputs)

    def _stages(self, variant: Variant, name: str) -> tuple[Decision, ...]:
        backend = self._space.registry.get(variant.kernel.backend)
        if not isinstance(backend, Staging):
            return ()
        actions = backend.stages(variant, self._configuration(variant))
        return tuple(
            self._space.rebuilder.probe(
                self._filled(action, variant), self._space.log.get(f"{name}|{number}")
            )
            for number, action in enumerate(actions)
        )

    def _digest(self, path: str, variant: Variant) -> str:
        found = self._space.index.digest(self._space.roles.decode(path))
        if found is None:
            raise self._paths.missing(path, variant)
        return found

    def _configuration(self, variant: Variant) -> Configuration:
        backend = self._space.registry.get(variant.kernel.backend)
        key = (backend.name, str(variant.target))
        known = self._configurations.get(key)
        # What a listing generates has a role of its own from the end of that listing on.
        if known is None or known.roles is not self._space.roles:
            settings = self._space.settings
            self._configurations[key] = Configuration(
                toolchain=self._space.toolchain_for(backend.toolchain, variant),
                mode=settings.mode,
                roles=self._space.roles,
                flags=mode_flags(settings.mode, variant.target),
                env=self._space.obeyed,
                salt=self._salt(backend.name),
            )
        return self._configurations[key]

    def _salt(self, name: str) -> str:
        """Content of the backend's code: an edit of the backend is an edit of its actions."""
        if name not in self._salts:
            backend: Backend = self._space.registry.get(name)
            modules = (type(backend).__module__, *getattr(backend, "shares", ()))
            self._salts[name] = key_digest([*map(self._space.code_digest, modules)])
        return self._salts[name]
