"""Rows of `configs = ["module:function"]`: each listed by an action of its own, traced and cached.

Files that the function writes into its `out_dir` are laid out once, in a folder named by their
content, and stand under a role of their own: the same path in every checkout, whatever else the
listing yields.
"""

import shutil
from pathlib import Path

import msgspec

from aot_build.backends.work import PLACE, ROWS_FILE, ROWS_STAGE, with_text
from aot_build.core.action import Action
from aot_build.core.artifact import Artifact
from aot_build.core.kernel import KernelSpec
from aot_build.core.result import Failure, Miss
from aot_build.digest import blob_digest, key_digest
from aot_build.errors import InternalError
from aot_build.graph.rebuilder import Decision
from aot_build.scheduler import Outcome, Scheduler
from aot_build.specs import RawRow, rows_from_code
from aot_build.workspace import Workspace

GENERATED = "generated"
"""Folder of the build folder for the sources that functions write; first word of their roles."""


class ListingFailed(Exception):
    """The function did not list its rows; the other kernels can be built all the same."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class Listings:
    """Lists rows for one plan."""

    def __init__(self, workspace: Workspace) -> None:
        self._space = workspace
        self.count = 0
        """How many functions were asked."""

    def rows(self, spec: KernelSpec, function: str) -> list[RawRow]:
        """The rows that `module:function` yields for a kernel. Raises ListingFailed, InputError."""
        self.count += 1
        outcome = self._outcome(spec, function)
        if outcome.result is None or outcome.trace is None:
            raise ListingFailed(outcome.failure or Failure("lost", "nothing is known of it"))
        self._space.remember(outcome.trace)
        folder = self._lay_out(outcome.result.artifacts)
        if folder is None:
            # The store lost what the probe had seen.
            damaged = Decision(outcome.decision.action, outcome.decision.base_key,
                               miss=Miss("its result was damaged"))  # fmt: skip
            outcome = self._run(damaged)
            folder = self._lay_out(outcome.result.artifacts) if outcome.result else None
        if folder is None:
            raise InternalError("the cache loses what is written to it", {"rows of": function})
        sources = str(folder / GENERATED)
        self._space.add_root(self._role(spec, function), sources)
        rows = msgspec.json.decode((folder / ROWS_FILE).read_bytes())
        return rows_from_code(with_text(rows, PLACE, sources), function)

    def _outcome(self, spec: KernelSpec, function: str) -> Outcome:
        action = Action(
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
        return self._run(self._space.rebuilder.probe(action))

    def _run(self, decision: Decision) -> Outcome:
        (outcome,) = Scheduler(self._space, silent=True).run([decision], lambda decision: None)
        return outcome

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


def _holds(folder: Path, artifacts: tuple[Artifact, ...]) -> bool:
    try:
        return all(blob_digest(folder / a.name) == a.digest for a in artifacts)
    except OSError:
        return False
