"""Never stale, never rebuilt needlessly: random edits to random projects, and builds after each.

`AOT_TEST_EDITS=100000 pytest tests/property -k truth` makes more of them, `AOT_TEST_SEED=7` others;
for nights there is `python -m tests.property.truth --edits 1000000`.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.property.truth.campaign import CHOICES, CLEAN_EVERY, STEPS
from tests.property.truth.edits import Edit
from tests.property.truth.engine import ByCommand, Engine, InProcess
from tests.property.truth.harness import NAMES, Harness, Tally, run
from tests.property.truth.project import Site
from tests.property.truth.recorder import Recorder, make_recorder
from tests.property.truth.with_gcc import GCC_NAMES, WithGcc, gcc_site

pytestmark = [pytest.mark.compiler, pytest.mark.slow]

EDITS = int(os.environ.get("AOT_TEST_EDITS", "2000"))
GCC_EDITS = 150
SEED = int(os.environ.get("AOT_TEST_SEED", "20"))
PARTS = 4
"""So that several processes can share them."""


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    return make_recorder(tmp_path_factory.mktemp("recorder"))


@pytest.fixture(scope="module")
def engine() -> Iterator[InProcess]:
    """Its pool stays: starting it costs ten edits."""
    made = InProcess()
    yield made
    made.close()


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


@pytest.mark.parametrize("part", range(PARTS))
def test_a_build_after_any_edit_is_a_clean_build(
    part: int, recorder: Recorder, engine: InProcess
) -> None:
    """With the recording compiler: 0 stale, 0 needless."""
    shared = {"engine": engine, "recorder": recorder}
    tally = explore(Edited, SEED + part, EDITS // PARTS, **shared)
    assert tally.edits >= EDITS // PARTS
    assert tally.clean > 0 and tally.torn > 0 and tally.failures > 0


@pytest.mark.parametrize("part", range(2))
def test_it_is_with_the_real_compiler(part: int, engine: InProcess) -> None:
    tally = explore(EditedWithGcc, SEED + part, GCC_EDITS // 2, steps=15, engine=engine, truth={})
    assert tally.edits >= GCC_EDITS // 2


def test_it_is_by_the_real_command(recorder: Recorder, tmp_path: Path) -> None:
    """A handful: each starts a driver, a forkserver and the compiler's interrogation."""
    harness = Harness(Site(tmp_path, recorder), ByCommand(), clean_every=5)
    run(
        harness,
        [
            Edit("add a header earlier on the path", 0, 0),
            Edit("edit in place, size and mtime as they were", 0, 9),
            Edit("go on in a copy elsewhere", 0, 1),
            Edit("swap the compiler for one of equal size and mtime"),
            Edit("another interpreter, umask and number of workers"),
            Edit("set a variable that compilers or kernels see", 2, 1),
            Edit("change the rows that a function lists", 4),
        ],
    )
    assert harness.tally.clean
