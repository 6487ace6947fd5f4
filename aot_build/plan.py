"""Settings -> kernel specs -> variants -> keyed actions -> what a probe says of each.

Runs no compile action. Functions that list rows are run (they are cached analysis actions).
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aot_build.analyses import Analyses
from aot_build.backends.protocol import Backend, Staging
from aot_build.core.action import Action
from aot_build.core.configuration import Configuration
from aot_build.core.kernel import KernelSpec, Variant
from aot_build.core.manifest import variant_id
from aot_build.core.result import Failure
from aot_build.core.toolchain import Toolchain
from aot_build.digest import key_digest
from aot_build.errors import InputError, did_you_mean
from aot_build.events import FailureRow, Notice, PlanRow
from aot_build.graph.rebuilder import Decision
from aot_build.listings import ListingFailed, Listings
from aot_build.paths import Paths
from aot_build.pipelines.modes import mode_flags
from aot_build.settings import Settings
from aot_build.specs import RawRow, config_files, read_rows, variants
from aot_build.stages import decide
from aot_build.workspace import Workspace


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
    return _Planner(workspace).plan(_chosen(workspace.settings, kernels))


def _failed_listing(spec: KernelSpec, function: str, failure: Failure) -> FailureRow:
    targets = ", ".join(map(str, spec.targets))
    label = f"rows of {function}"
    return FailureRow(spec.name, label, targets, failure.reason, failure.log, failure.outcome)


def list_plan(plan: Plan, workspace: Workspace) -> tuple[PlanRow, ...]:
    """A plan as rows for people and for JSON: what cannot be planned comes last."""
    rows = []
    for planned in plan.planned:
        variant, miss = planned.variant, planned.decision.miss
        record = workspace.log.get(planned.name)
        rows.append(
            PlanRow(
                variant.kernel.name,
                variant.label,
                str(variant.target),
                hit=miss is None,
                reason=str(miss or ""),
                seconds=record.seconds if record else 0.0,
                last=record.built if record else "",
            )
        )
    for row in plan.failures:
        reason = f"{row.reason}\n  log: {row.log}"
        unplanned = PlanRow(row.kernel, row.variant, row.target, False, reason, failed=True)
        rows.append(unplanned)
    return tuple(rows)


def _chosen(settings: Settings, names: Sequence[str] | None) -> list[KernelSpec]:
    if names is None:
        return list(settings.kernels)
    known = {spec.name for spec in settings.kernels}
    for name in names:
        if name not in known:
            asleep = [note for note in settings.unserved if name in note]
            raise InputError(
                f"no kernel is called {name!r}" if not asleep else f"kernel {name!r} is not built",
                {"note": asleep[0] if asleep else None},
                None if asleep else did_you_mean(name, known),
            )
    return [spec for spec in settings.kernels if spec.name in names]


class _Planner:
    def __init__(self, workspace: Workspace) -> None:
        self._space = workspace
        self._paths = Paths(workspace)
        self._listings = Listings(workspace)
        self._failures: list[FailureRow] = []
        self._salts: dict[str, str] = {}
        self._configurations: dict[tuple[str, str], Configuration] = {}
        self._analyses = Analyses(workspace, self._configuration, self._filled)

    def plan(self, specs: list[KernelSpec]) -> Plan:
        project = self._space.settings.project
        rows = {id(spec): self._rows(spec, project) for spec in specs}
        listed = [v for spec in specs for v in self._variants(spec, rows[id(spec)])]
        found = self._analyses.resolve(listed)
        actions = [self._action(variant) for variant in found]
        planned = []
        for variant, action in zip(found, actions, strict=True):
            toolchain = self._configuration(variant).toolchain
            name = f"{variant.kernel.name}|{variant.target}|{variant_id(variant)}"
            stages = self._stages(variant, name)
            decision = decide(self._space, action, stages, name)
            planned.append(Planned(variant, toolchain, decision, name, stages))
        distinct = {stage.base_key for p in planned for stage in p.stages}
        helpers = self._listings.count + self._analyses.count + len(distinct)
        return Plan(tuple(planned), helpers, (*self._failures, *self._analyses.failures))

    # Rows and variants

    def _rows(self, spec: KernelSpec, project: Path) -> list[RawRow] | None:
        """None where they could not be listed."""
        for file in config_files(spec, project):
            self._space.index.digest(str(file))
        rows, functions = read_rows(spec, project)
        for function in functions:
            self._paths.check_importable(function, f"configs of kernel {spec.name!r}")
            try:
                rows = rows + self._listings.rows(spec, function)
            except ListingFailed as failed:
                self._failures.append(_failed_listing(spec, function, failed.failure))
                return None
        return rows

    def _variants(self, spec: KernelSpec, rows: list[RawRow] | None) -> list[Variant]:
        if rows is None:
            return []
        found, skipped = variants(spec, rows, row_targets=self._space.settings.targets)
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
        if key not in self._configurations:
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
