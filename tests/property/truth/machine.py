"""Projects that hypothesis edits, built after every edit."""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import ClassVar

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.property.truth.campaign import CHOICES, CLEAN_EVERY, STEPS
from tests.property.truth.edits import Edit
from tests.property.truth.engine import Engine, InProcess
from tests.property.truth.harness import NAMES, Harness, Tally
from tests.property.truth.project import Site
from tests.property.truth.recorder import Recorder
from tests.property.truth.with_gcc import GCC_NAMES, WithGcc, gcc_site

EDITS = int(os.environ.get("AOT_TEST_EDITS", "2000"))
SEED = int(os.environ.get("AOT_TEST_SEED", "20"))
PARTS = 2
"""Files that share them, so that several processes can."""


def edits(names: tuple[str, ...]) -> st.SearchStrategy[Edit]:
    choices = st.integers(0, CHOICES - 1)
    return st.builds(Edit, st.sampled_from(names), choices, choices)


class Edited(RuleBasedStateMachine):
    """One project, built after every edit."""

    engine: ClassVar[Engine]
    recorder: ClassVar[Recorder]
    tally: ClassVar[Tally]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="truth-"))
        self.harness = self.begin(self.folder)

    def begin(self, folder: Path) -> Harness:
        return Harness(Site(folder, self.recorder), self.engine, clean_every=CLEAN_EVERY)

    @rule(edit=edits(NAMES))
    def edit(self, edit: Edit) -> None:
        self.harness.step(edit)

    def teardown(self) -> None:
        self.tally.add(self.harness.tally)
        shutil.rmtree(self.folder, ignore_errors=True)


class EditedWithGcc(Edited):
    """The same with the real compiler."""

    truth: ClassVar[dict[object, bytes]]

    def begin(self, folder: Path) -> Harness:
        return WithGcc(gcc_site(folder), self.engine, self.truth)

    @rule(edit=edits(GCC_NAMES))
    def edit(self, edit: Edit) -> None:
        self.harness.step(edit)


def explore(
    machine: type[Edited], seed: int, count: int, *, steps: int = STEPS, **shared: object
) -> Tally:
    """Make so many edits, in runs of `steps`."""
    shared["tally"] = Tally()
    kind = hypothesis.seed(seed)(type(machine.__name__, (machine,), shared))
    run_state_machine_as_test(
        kind,
        settings=hypothesis.settings(
            derandomize=False,  # A seed of their own tells the parts apart.
            database=None,
            deadline=None,
            print_blob=True,
            # The first one makes the plainest edit again and again.
            max_examples=1 + -(-count // steps),
            stateful_step_count=steps,
            phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
    print(kind.tally, file=sys.stderr)
    return kind.tally


def check_part(part: int, recorder: Recorder, engine: InProcess) -> None:
    """One part of the edits, with the recording compiler: 0 stale, 0 needless."""
    shared = {"engine": engine, "recorder": recorder}
    tally = explore(Edited, SEED + part, EDITS // PARTS, **shared)
    assert tally.edits >= EDITS // PARTS
    assert tally.clean > 0 and tally.torn > 0 and tally.failures > 0
