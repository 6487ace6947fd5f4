"""Settings -> kernel specs -> variants -> keyed actions -> what a probe says of each.

Runs no compile action. Functions that list rows are run (they are cached analysis actions).
"""

import dataclasses
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from aot_build.backends.protocol import Backend
from aot_build.backends.work import ROWS_FILE, ROWS_STAGE
from aot_build.core.action import Action
from aot_build.core.configuration import Configuration
from aot_build.core.kernel import KernelSpec, Variant
from aot_build.core.manifest import variant_id
from aot_build.core.toolchain import Toolchain
from aot_build.errors import InputError, InternalError, KernelsFailed, did_you_mean
from aot_build.events import Notice, PlanRow
from aot_build.graph.rebuilder import Decision
from aot_build.paths import Paths
from aot_build.pipelines.modes import mode_flags
from aot_build.scheduler import Scheduler
from aot_build.specs import RawRow, config_files, read_rows, rows_from_code, variants
from aot_build.workspace import Workspace

GENERATED = "generated"
"""Folder of the build folder, and prefix of the roles, for sources that functions write."""


@dataclass(frozen=True)
class Planned:
    """One variant with its action and what the probe found."""

    variant: Variant
    toolchain: Toolchain
    decision: Decision

    @cached_property
    def name(self) -> str:
        """Names the variant in the build log."""
        return f"{self.variant.kernel.name}|{self.variant.target}|{variant_id(self.variant)}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Every variant of a build, in the order of declaration."""

    planned: tuple[Planned, ...]
    helpers: int
    """Actions that served the plan: functions that listed rows."""

    @property
    def hits(self) -> int:
        """How many need not run."""
        return sum(p.decision.result is not None for p in self.planned)


def make_plan(workspace: Workspace, kernels: Sequence[str] | None = None) -> Plan:
    """Plan every declared kernel, or those named. Raises InputError, EnvironmentProblem."""
    return _Planner(workspace).plan(_chosen(workspace.settings.kernels, kernels))


def list_plan(plan: Plan, workspace: Workspace) -> tuple[PlanRow, ...]:
    """A plan as rows for people and for JSON."""
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
    return tuple(rows)


def _chosen(specs: Iterable[KernelSpec], names: Sequence[str] | None) -> list[KernelSpec]:
    specs = list(specs)
    if names is None:
        return specs
    known = {spec.name for spec in specs}
    for name in names:
        if name not in known:
            raise InputError(f"no kernel is called {name!r}", hint=did_you_mean(name, known))
    return [spec for spec in specs if spec.name in names]


class _Planner:
    def __init__(self, workspace: Workspace) -> None:
        self._space = workspace
        self._paths = Paths(workspace)
        self._helpers = 0
        self._salts: dict[str, str] = {}
        self._configurations: dict[tuple[str, str], Configuration] = {}

    def plan(self, specs: list[KernelSpec]) -> Plan:
        project = self._space.settings.project
        rows = {id(spec): self._rows(spec, project) for spec in specs}
        found = [v for spec in specs for v in self._variants(spec, rows[id(spec)])]
        actions = [self._action(variant) for variant in found]
        planned = []
        for variant, action in zip(found, actions, strict=True):
            toolchain = self._configuration(variant).toolchain
            name = Planned(variant, toolchain, Decision(action, "")).name
            decision = self._space.rebuilder.probe(action, self._space.log.get(name))
            planned.append(Planned(variant, toolchain, decision))
        return Plan(tuple(planned), self._helpers)

    # Rows and variants

    def _rows(self, spec: KernelSpec, project: Path) -> list[RawRow]:
        for file in config_files(spec, project):
            self._space.index.digest(str(file))
        rows, functions = read_rows(spec, project)
        for number, function in enumerate(functions):
            rows = rows + self._listed(spec, function, number)
        return rows

    def _variants(self, spec: KernelSpec, rows: list[RawRow]) -> list[Variant]:
        found, skipped = variants(spec, rows, row_targets=self._space.settings.targets)
        if skipped.targets:
            counts = ", ".join(f"{count} for {target}" for target, count in skipped.targets)
            self._space.emit(Notice(f"{spec.name}: left out rows of other targets: {counts}"))
        backend = self._space.registry.get(spec.backend)
        for variant in found:
            backend.check(variant)
        return [self._paths.by_role(variant, backend) for variant in found]

    def _listed(self, spec: KernelSpec, function: str, number: int) -> list[RawRow]:
        """Rows of `module:function`, from an action of its own."""
        self._paths.check_importable(function, f"configs of kernel {spec.name!r}")
        python = self._space.toolchain("python")
        targets = tuple(map(str, spec.targets))
        action = Action(
            backend="python", stage=ROWS_STAGE, target="cpu", mode=self._space.settings.mode,
            params=(("source", function), ("targets", targets)), inputs=(),
            toolchain=python.digest, env=spec.env, salt=self._salt("python"),
            kernel=spec.name, label=f"rows of {function}", timeout=spec.timeout,
        )  # fmt: skip
        scheduler = Scheduler(self._space, silent=True)
        decision = self._space.rebuilder.probe(action)
        (outcome,) = scheduler.run([decision], lambda decision: None)
        self._helpers += 1
        if outcome.result is None or outcome.trace is None:
            failure = outcome.failure
            raise KernelsFailed(
                f"the function that lists the rows of kernel {spec.name!r} failed",
                {"function": function, "reason": failure and failure.reason,
                 "log": failure and failure.log},
            )  # fmt: skip
        self._space.remember(outcome.trace)
        folder = self._space.folder / GENERATED / f"{spec.name}-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        for artifact in outcome.result.artifacts:
            if not self._space.store.fetch(artifact.digest, folder / artifact.name):
                raise InternalError("a listing of rows is damaged", {"function": function},
                                    "build again")  # fmt: skip
        text = (folder / ROWS_FILE).read_text().replace("{generated}", str(folder / "generated"))
        return rows_from_code(msgspec.json.decode(text), function)

    # Actions

    def _action(self, variant: Variant) -> Action:
        backend = self._space.registry.get(variant.kernel.backend)
        action = backend.action(variant, self._configuration(variant))
        inputs = tuple((path, self._digest(path, variant)) for path, _ in action.inputs)
        return dataclasses.replace(action, inputs=inputs)

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
                env=self._space.env,
                salt=self._salt(backend.name),
            )
        return self._configurations[key]

    def _salt(self, name: str) -> str:
        """Content of the backend's module: an edit of the backend is an edit of its actions."""
        if name not in self._salts:
            backend: Backend = self._space.registry.get(name)
            self._salts[name] = self._space.code_digest(type(backend).__module__)
        return self._salts[name]
