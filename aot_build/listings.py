"""Rows of `configs = ["module:function"]`: each listed by an action of its own, traced and cached.

Files that the function writes into its `out_dir` are laid out once, in a folder named by their
content, and stand under a role of their own: the same path in every checkout, whatever else the
listing yields.
"""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from aot_build.backends.work import PLACE, ROWS_FILE, ROWS_STAGE, with_text
from aot_build.core.action import Action
from aot_build.core.artifact import Artifact
from aot_build.core.kernel import KernelSpec
from aot_build.core.result import DAMAGED, Failure
from aot_build.digest import blob_digest, key_digest
from aot_build.errors import InputError, InternalError
from aot_build.events import Notice
from aot_build.execute.scheduler import Task
from aot_build.graph.rebuilder import Decision
from aot_build.outcome import Asked, Outcome, asked_record
from aot_build.specs import RawRow, row_targets, rows_from_code
from aot_build.stations import Stations

GENERATED = "generated"
"""Folder of the build folder for the sources that functions write; first word of their roles."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a function has listed."""

    rows: list[RawRow]
    broken: list[tuple[str, str]]
    """Rows that it could not make out: where, and what is wrong with each."""


Listed = Callable[[Listing | Failure], Iterable[Task]]


class Listings:
    """Lists rows for one plan."""

    def __init__(self, stations: Stations) -> None:
        self._stations = stations
        self._space = stations.space
        self.count = 0
        """How many functions were asked."""
        self.asked: list[Asked] = []
        """Those that have answered."""

    def ask(self, spec: KernelSpec, function: str, then: Listed) -> Iterable[Task]:
        """Have `then` called with the rows that `module:function` yields for a kernel."""
        self.count += 1
        action = self._action(spec, function)
        last = self._space.log.get(asked_record(spec.name, _targets(spec), action.label))
        decision = self._space.rebuilder.probe(action, last)
        return self._ask(spec, function, decision, then, again=True)

    def _ask(
        self, spec: KernelSpec, function: str, decision: Decision, then: Listed, *, again: bool
    ) -> Iterable[Task]:
        def listed(outcome: Outcome) -> Iterable[Task]:
            if outcome.result is None or outcome.trace is None:
                return then(outcome.failure or Failure("lost", "nothing is known of it"))
            folder = self._lay_out(outcome.result.artifacts)
            if folder is None and again:
                # The store lost what the probe had seen.
                lost = Decision(decision.action, decision.base_key, miss=DAMAGED)
                return self._ask(spec, function, lost, then, again=False)
            if folder is None:
                raise InternalError("the cache loses what is written to it", {"rows of": function})
            self._space.remember(outcome.trace)
            name = self._role(spec, function)
            self.asked.append(Asked(spec.name, _targets(spec), name, outcome))
            return then(self._rows(spec, function, folder))

        return self._stations.ask(decision, self._role(spec, function), listed)

    def _rows(self, spec: KernelSpec, function: str, folder: Path) -> Listing:
        sources = str(folder / GENERATED)
        self._space.add_root(self._role(spec, function), sources)
        found = msgspec.json.decode((folder / ROWS_FILE).read_bytes())
        for text in found["told"]:
            self._space.emit(Notice(f"{spec.name}: {text}"))
        listing = Listing([], [(where, why) for where, why in found["broken"]])
        for row in rows_from_code(with_text(found["rows"], PLACE, sources), function):
            try:
                row_targets(row)
                listing.rows.append(row)
            except InputError as error:
                listing.broken.append((row.where, str(error)))
        return listing

    def _action(self, spec: KernelSpec, function: str) -> Action:
        return Action(
            backend="python",
            stage=ROWS_STAGE,
            target="cpu",
            mode=self._space.settings.mode,
            params=(("source", function), ("targets", tuple(map(str, spec.targets)))),
            inputs=(),
            toolchain=self._space.toolchain("python").digest,
            env=spec.env,
            salt=self._space.code_digest("aot_build.backends.work"),
            kernel=spec.name,
            label=f"rows of {function}",
            timeout=spec.timeout,
            retries=spec.retries,
        )

    def _role(self, spec: KernelSpec, function: str) -> str:
        return f"{GENERATED}:{spec.name}:{function}:{'+'.join(map(str, spec.targets))}"

    def _lay_out(self, artifacts: tuple[Artifact, ...]) -> Path | None:
        """The folder with these artifacts; None where one of them cannot be had.

        It is filled under another name first, and left alone once it is there: another build may
        be compiling from it.
        """
        name = key_digest(artifacts)[:16]
        folder = self._space.folder / GENERATED / name
        if _holds(folder, artifacts):
            return folder
        young = self._space.work / f"{GENERATED}-{name}"
        for artifact in artifacts:
            if not self._space.store.fetch(artifact.digest, young / artifact.name):
                return None
        folder.parent.mkdir(exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        young.rename(folder)
        return folder


def _targets(spec: KernelSpec) -> str:
    return ", ".join(map(str, spec.targets))


def _holds(folder: Path, artifacts: tuple[Artifact, ...]) -> bool:
    try:
        return all(blob_digest(folder / a.name) == a.digest for a in artifacts)
    except OSError:
        return False
