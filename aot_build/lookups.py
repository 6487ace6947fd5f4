"""Would production compile? Every declared kernel looked up among those that ship, as its users'
processes would look it up, where compiling is an error.

Nothing is written but in a temporary folder: not the project, not its build, not the cache.
"""

import importlib.util
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from aot_build.backends.lookups.work import ANSWER, LIST_ROWS, TRY_OUT, WAYS
from aot_build.backends.registry import Registry
from aot_build.core.inquiry import Inquiry, Surroundings
from aot_build.core.kernel import KernelSpec, Variant
from aot_build.core.roles import Roles
from aot_build.errors import EnvironmentProblem
from aot_build.examined import MANIFEST, of_build, of_installed, of_wheel
from aot_build.jobs import JobResult, run_jobs
from aot_build.opening import declared_settings
from aot_build.plan import not_built
from aot_build.request import Request
from aot_build.rows import RuntimeRow, runtime_row
from aot_build.settings import Settings
from aot_build.specs import RawRow, read_rows, rows_from_code, variants

PATIENCE = 900.0
"""Seconds that the look-ups of one kernel for one target may take, where no timeout is set."""
RETRIES = 1
GPU_NODES = {"cuda": "/dev/nvidiactl", "hip": "/dev/kfd"}
"""What there is where a machine has a GPU of a kind."""
Place = tuple[str, str]
"""Kernel and target."""
Trial = Sequence[str]
"""How far a kernel went on this machine (nowhere: empty), and what is to be said of that."""


def verify_runtime(
    project: str | os.PathLike[str],
    *,
    kernels: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    mode: str | None = None,
    installed: bool = False,
    wheel: str | os.PathLike[str] | None = None,
) -> tuple[RuntimeRow, ...]:
    """Look up all that a project declares in what ships: a row each launch, or each declared row.

    What ships is what the last build left, the package that is installed in this environment, or a
    wheel. Kernels, targets and mode are as configured where they are None. Raises InputError,
    EnvironmentProblem.
    """
    request = Request(os.path.realpath(project), targets=targets, mode=mode, kernels=kernels)
    settings, registry = declared_settings(request)
    with tempfile.TemporaryDirectory(prefix="aot-build-") as folder:
        scratch = Path(folder).resolve()
        if wheel is not None:
            around = of_wheel(settings, Path(wheel), scratch)
        else:
            around = (of_installed if installed else of_build)(settings, scratch)
        examination = _Examination(settings, registry, around, targets is not None)
        return tuple(examination.rows(kernels))


class _Examination:
    """One package's kernels against one project's declarations."""

    def __init__(
        self, settings: Settings, registry: Registry, around: Surroundings, chosen_targets: bool
    ) -> None:
        self._settings, self._registry, self._around = settings, registry, around
        self._targets = set(map(str, settings.targets)) if chosen_targets else None
        self._shipped = _shipped(around)
        self._roles = Roles({"project": str(settings.project)})
        self._at_home = replace(around, roots=tuple(map(str, settings.import_roots)))
        """Where functions that list rows are: they are no part of what ships."""

    def rows(self, kernels: Sequence[str] | None) -> Iterator[RuntimeRow]:
        """Raises InputError for a kernel that is neither declared nor shipped."""
        declared = {spec.name for spec in self._settings.kernels}
        known = declared | {name for name, _ in self._shipped}
        for name in kernels or ():
            if name not in known:
                raise not_built(self._settings, name, known)
        chosen = known if kernels is None else set(kernels)
        specs = [spec for spec in self._settings.kernels if spec.name in chosen]
        inquiries: dict[Place, Inquiry] = {}
        for spec, (rows, failed) in zip(specs, self._listed(specs), strict=True):
            yield from failed
            self._add(inquiries, spec, rows)
        for (name, target), backend in self._shipped.items():
            if name in chosen and (self._targets is None or target in self._targets):
                gone = Inquiry(self._around, name, backend, target)
                inquiries.setdefault((name, target), gone)
        yield from self._ask(list(inquiries.values()))

    # What is declared

    def _listed(
        self, specs: Sequence[KernelSpec]
    ) -> Iterator[tuple[list[RawRow], list[RuntimeRow]]]:
        """The rows of each kernel, and what failed of those that code lists."""
        read = [read_rows(spec, self._settings.project) for spec in specs]
        asked = [(n, function) for n, (_, functions) in enumerate(read) for function in functions]
        failed: list[list[RuntimeRow]] = [[] for _ in specs]
        results = self._run(LIST_ROWS, [self._listing(specs[n], name) for n, name in asked])
        for (number, function), result in zip(asked, results, strict=True):
            broken = [[f"rows of {function}", result.reason]]
            if result.outcome == "ok":
                read[number][0].extend(rows_from_code(result.value["rows"], function))
                broken = result.value["broken"]
            name, targets = specs[number].name, ", ".join(map(str, specs[number].targets))
            failed[number] += [RuntimeRow(name, row, targets, "failed", why) for row, why in broken]
        return ((rows, bad) for (rows, _), bad in zip(read, failed, strict=True))

    def _listing(self, spec: KernelSpec, function: str) -> list[Any]:
        asked = Inquiry(self._at_home, spec.name, spec.backend, "", env=self._env(spec, "cpu"))
        return [msgspec.msgpack.encode(asked), function, list(map(str, spec.targets))]

    def _env(self, spec: KernelSpec, target: str) -> dict[str, str]:
        return {
            name: self._roles.expand(value).replace("{target}", target) for name, value in spec.env
        }

    def _add(self, inquiries: dict[Place, Inquiry], spec: KernelSpec, rows: list[RawRow]) -> None:
        found, _ = variants(spec, rows, enabled=self._settings.targets)
        groups: dict[str, list[Variant]] = {str(target): [] for target in spec.targets}
        for variant in found:
            groups[str(variant.target)].append(variant)
        for target, group in groups.items():
            inquiries[spec.name, target] = Inquiry(
                self._around,
                spec.name,
                spec.backend,
                target,
                source=spec.source[0] if spec.source else "",
                options=_plain(spec.options),
                env=self._env(spec, target),
                rows=tuple(dict(variant.row) for variant in group),
                places=tuple(variant.where for variant in group),
            )

    # Asking

    def _ask(self, inquiries: list[Inquiry]) -> Iterator[RuntimeRow]:
        jobs = [[msgspec.msgpack.encode(each)] for each in inquiries]
        results = self._run(ANSWER, jobs, self._preload(inquiries))
        tried = self._try_out(inquiries)
        for asked, result in zip(inquiries, results, strict=True):
            if result.outcome == "ok":
                trial = tried.get((asked.kernel, asked.target), {})
                told = json.loads(result.value)
                yield from (_ran(runtime_row(row), trial) for row in told["rows"])
                if told["installed"] is False:
                    yield self._hidden(asked)
            else:
                yield _failed(asked, _reason(result))

    def _hidden(self, asked: Inquiry) -> RuntimeRow:
        package = asked.around.package
        detail = f"importing {package} does not call {package}._aot.install(): where nobody does,"
        detail += " ordinary launches find nothing that ships"
        return RuntimeRow(asked.kernel, "-", asked.target, "hidden", detail)

    def _try_out(self, inquiries: Sequence[Inquiry]) -> dict[Place, dict[str, Trial]]:
        """What came of the kernels that the GPU of this machine may run, by their labels."""
        kinds = {kind for kind, node in GPU_NODES.items() if os.path.exists(node)}
        asked = [each for each in inquiries if each.target.partition(":")[0] in kinds]
        results = self._run(TRY_OUT, [[msgspec.msgpack.encode(each)] for each in asked])
        return {
            (each.kernel, each.target): result.value
            if result.outcome == "ok"
            else {"": ("", _reason(result))}
            for each, result in zip(asked, results, strict=True)
        }

    def _run(
        self, worker: str, jobs: list[list[Any]], preload: Sequence[str] = ()
    ) -> list[JobResult]:
        if not jobs:
            return []
        slots, patience = self._settings.jobs, self._settings.timeout or PATIENCE
        return run_jobs(worker, jobs, slots, patience, RETRIES, preload)

    def _preload(self, inquiries: Sequence[Inquiry]) -> list[str]:
        """What workers would each take seconds to import."""
        asked = [each for each in inquiries if each.rows and each.backend in WAYS]
        found: dict[str, None] = {}
        for each in asked:
            backend = self._registry.get(each.backend)
            if importlib.util.find_spec(each.backend):
                found.update(dict.fromkeys(getattr(backend, "preload", ())))
            # A function that makes launches makes tensors for them.
            if not each.options.get("signature") and importlib.util.find_spec("torch"):
                found["torch"] = None
        return list(found)


def _shipped(around: Surroundings) -> dict[Place, str]:
    """Each kernel and target of a manifest, and the kernel's backend."""
    path = Path(around.tree, MANIFEST)
    try:
        kernels = json.loads(path.read_bytes())["kernels"]
        return {
            (name, variant["target"]): kernel["backend"]
            for name, kernel in kernels.items()
            for variant in kernel["variants"]
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EnvironmentProblem(
            "the manifest is damaged", {"file": path, "error": repr(error)}, "build it again"
        ) from error


def _plain(options: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Options of a backend; a table among them is pairs there, since a spec must be hashable."""
    found: dict[str, Any] = {}
    for name, value in options:
        pairs = isinstance(value, tuple) and all(
            isinstance(each, tuple) and len(each) == 2 for each in value
        )
        found[name] = dict(value) if pairs and value else value
    return found


def _ran(row: RuntimeRow, trial: Mapping[str, Trial]) -> RuntimeRow:
    """A row with what came of its kernel on the GPU that is here; "" stands for all of them."""
    ran, detail = trial.get(row.variant) or trial.get("") or ("", "")
    if row.verdict != "found" or not (ran or detail):
        return row
    verdict = "found" if ran else "failed"
    return replace(row, verdict=verdict, ran=ran, detail=detail or row.detail)


def _failed(asked: Inquiry, reason: str) -> RuntimeRow:
    number = f"{len(asked.rows)} row{'s' * (len(asked.rows) != 1)}"
    return RuntimeRow(asked.kernel, number, asked.target, "failed", reason)


def _reason(result: JobResult) -> str:
    last = result.log.strip().splitlines()[-1:]
    told = result.outcome != "error" and last and last[0] not in result.reason
    return f"{result.reason} ({last[0]})" if told else result.reason
