"""Random edits with g++, whose truth is what clean builds left; and by the command."""

from pathlib import Path

import pytest

from tests.property.truth.edits import Edit
from tests.property.truth.engine import ByCommand, InProcess
from tests.property.truth.harness import Harness, run
from tests.property.truth.machine import SEED, EditedWithGcc, explore
from tests.property.truth.project import Site
from tests.property.truth.recorder import Recorder

pytestmark = [pytest.mark.compiler, pytest.mark.slow]

GCC_EDITS = 150


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
