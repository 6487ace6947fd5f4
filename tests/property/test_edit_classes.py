"""What each kind of edit has rebuilt: one example each, nothing more and nothing less.

The project is that of truth/project.py: `scale` (4 variants) and `blend` are C++, `table` (2
variants, its rows come out of `rows`) and `child` are Python.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.property.truth.edits import EDITS, NEUTRAL, Edit
from tests.property.truth.engine import ROWS, InProcess
from tests.property.truth.harness import CONCURRENT, Harness
from tests.property.truth.project import Site
from tests.property.truth.recorder import Recorder, make_recorder

pytestmark = pytest.mark.compiler

SCALE, BLEND, TABLE, CHILD = {"scale": 4}, {"blend": 1}, {"table": 2}, {"child": 1}
COMPILED, CALLED, NOTHING = SCALE | BLEND, TABLE | CHILD, {}
EVERYTHING = COMPILED | CALLED | {ROWS: 1}
COLUMNS = "said", "before", "edit", "rebuilt"
KEEP = Edit("put a checkout by")

CASES = [
    # Headers
    ("a header that all read", (), Edit("change a header", 0, 5), COMPILED),
    ("a header that one source reads", (), Edit("change a header", 2, 5), BLEND),
    ("a header that nobody reads", (), Edit("change a header", 3, 5), NOTHING),
    ("earlier on the path", (), Edit("add a header earlier on the path", 0, 0), COMPILED),
    ("beside the source", (), Edit("add a header earlier on the path", 0, 1), COMPILED),
    ("beside, and asked for by <>", (), Edit("add a header earlier on the path", 1, 1), NOTHING),
    ("later on the path", (), Edit("add a header anywhere", 0, 2), NOTHING),
    ("asked for by __has_include", (), Edit("add a header anywhere", 5, 2), COMPILED),
    ("earlier one goes again", (Edit("add a header earlier on the path", 0, 0),),
     Edit("remove a header", 0, 0), NOTHING),
    ("one that is needed goes", (), Edit("remove a header", 0, 6), None),
    ("a header includes another", (), Edit("let a header include another", 0, 1), COMPILED),
    ("of an included one", (Edit("let a header include another", 0, 1),),
     Edit("change a header", 2, 5), COMPILED),
    ("a folder of its name", (), Edit("turn a header into a folder, or back", 0, 0), None),
    ("that folder becomes a header", (Edit("turn a header into a folder, or back", 0, 0),),
     Edit("turn a header into a folder, or back", 0, 1), COMPILED),
    ("a link to an equal header", (), Edit("point a link elsewhere", 0, 0), COMPILED),
    ("a link to another header", (Edit("point a link elsewhere", 1, 0),),
     Edit("point a link elsewhere", 1, 1), BLEND),
    ("a link that led nowhere", (Edit("point a link elsewhere", 0, 1),),
     Edit("add a header anywhere", 0, 4), COMPILED),
    ("a link that led nowhere becomes a file", (Edit("point a link elsewhere", 0, 1),),
     Edit("add a header earlier on the path", 0, 0), COMPILED),
    ("a link that led nowhere leads elsewhere", (Edit("point a link elsewhere", 1, 2),),
     Edit("point a link elsewhere", 1, 0), BLEND),
    ("a link that leads nowhere stays one", (Edit("point a link elsewhere", 1, 2),),
     Edit("touch files", 0, 1), NOTHING),
    ("a searched folder becomes a link", (), Edit("link a folder that is searched", 0, 1), BLEND),
    ("a searched folder is renamed", (), Edit("rename a folder, or back", 0), NOTHING),
    ("and renamed back", (Edit("rename a folder, or back", 0),),
     Edit("rename a folder, or back", 0), NOTHING),
    # Sources and libraries
    ("a source", (), Edit("change a source", 1, 5), BLEND),
    ("in place, size and mtime as before", (),
     Edit("edit in place, size and mtime as they were", 0, 9), COMPILED),
    ("a library", (), Edit("change the library", 0, 5), BLEND),
    ("a library before the archive", (), Edit("add a library earlier, or take it away", 0), BLEND),
    ("a library in earlier folders", (), Edit("add a library earlier, or take it away", 1), BLEND),
    ("a library in a later place", (Edit("add a library earlier, or take it away", 2),),
     Edit("add a library earlier, or take it away", 0), NOTHING),
    # Python
    ("a module", (), Edit("change a module", 0, 5), CALLED),
    ("a module of a package", (), Edit("change a module", 1, 5), CALLED),
    ("an optional module appears", (), Edit("add or take away an optional module"), CALLED),
    ("a package before a module", (), Edit("put a package before a module, or take it away"),
     CALLED),
    ("a file that is read", (), Edit("change a file that Python reads", 0, 5), TABLE),
    ("what a child reads", (), Edit("change a file that a child program reads", 0, 5), CHILD),
    ("what a child misses", (Edit("change a file that a child program reads", 0, 4),),
     Edit("change a file that a child program reads", 0, 5), CHILD),
    ("a listed folder", (), Edit("add to a listed folder, or take away", 1), TABLE),
    ("what is looked at appears", (), Edit("change what is only looked at", 1), TABLE),
    ("what is looked at becomes a folder", (Edit("change what is only looked at", 1),),
     Edit("change what is only looked at", 2), TABLE),
    ("what is looked at goes", (Edit("change what is only looked at", 1),),
     Edit("change what is only looked at", 0), NOTHING),
    ("rows from code: another", (), Edit("change the rows that a function lists", 3),
     {"table": 1, ROWS: 1}),
    ("rows from code: same ones", (), Edit("change the rows that a function lists", 1), {ROWS: 1}),
    # Declarations and world
    ("another mode", (), Edit("switch the mode", 1), EVERYTHING),
    ("another target", (), Edit("switch the targets", 3), {"scale": 2}),
    ("one target less", (), Edit("switch the targets", 1), NOTHING),
    ("a flag", (), Edit("change flags", 1), SCALE),
    ("a forced include", (), Edit("change flags", 3), SCALE),
    ("other include directories", (), Edit("change include directories", 1), COMPILED),
    ("one more row", (), Edit("change rows", 3), {"scale": 2}),
    ("another value in a row", (), Edit("change rows", 4), {"scale": 2}),
    ("a kernel less", (), Edit("declare other kernels", 0, 1), NOTHING),
    ("rows move into pyproject.toml", (), Edit("move rows into pyproject.toml, or back"), NOTHING),
    ("CPATH", (), Edit("set a variable that compilers or kernels see", 0, 1), COMPILED),
    ("a variable that a function reads", (),
     Edit("set a variable that compilers or kernels see", 2, 1), TABLE),
    ("another compiler", (), Edit("swap the compiler for one of equal size and mtime"), COMPILED),
    # Checkouts and the store
    ("checked out and reverted", (KEEP, Edit("change a header"), Edit("change a module", 0, 5),
     Edit("change a source", 0, 5)), Edit("check out what was put by"), NOTHING),
    ("the build log is lost", (), Edit("lose what a build knows of digests and decisions", 0),
     NOTHING),
    ("blobs are lost", (Edit("lose the build folder"),), Edit("lose or damage blobs", 0, 1), None),
    ("blobs and outputs are damaged", (Edit("lose or damage blobs", 0, 0),),
     Edit("lose the build folder"), None),
    *((name, (), Edit(name, 0, n), NOTHING) for name in sorted(NEUTRAL) for n in (0, 1)),
    # While it runs: what is left is put right by the next build, whatever it takes.
    *((f"{name}, {b}", (), Edit(name, a, b), None) for name in CONCURRENT for a in (0, 3, 5)
      for b in (0, 1)),
]  # fmt: skip
"""`rebuilt`: how many actions of each kernel the edit has built; None: that is not looked at."""


@dataclass
class Base:
    """A site that was built, to be copied."""

    recorder: Recorder
    engine: InProcess
    site: Site

    def again(self, root: Path) -> Harness:
        """The same elsewhere, with a cache of its own that has it all."""
        shutil.copytree(self.site.cache, root / "cache")
        return Harness(Site(root, self.recorder), self.engine)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Base]:
    folder = tmp_path_factory.mktemp("base")
    recorder, engine = make_recorder(folder / "recorder"), InProcess()
    site = Site(folder / "site", recorder)
    assert not engine.build(site).failed
    yield Base(recorder, engine, site)
    engine.close()


@pytest.mark.parametrize(COLUMNS, CASES, ids=[case[0] for case in CASES])
def test_what_an_edit_has_rebuilt(
    base: Base,
    tmp_path: Path,
    said: str,
    before: tuple[Edit, ...],
    edit: Edit,
    rebuilt: dict[str, int] | None,
) -> None:
    harness = base.again(tmp_path / "site")
    assert harness.tally.executed == 0, "two checkouts share one cache"
    for each in before:
        harness.step(each)
    built = harness.step(edit)
    ran = Counter(name if isinstance(name, str) else name[0] for name in built.executed)
    assert rebuilt is None or ran == rebuilt


def test_every_edit_has_its_example() -> None:
    shown = {edit.name for _, before, edit, _ in CASES for edit in (*before, edit)}
    assert {*EDITS, *CONCURRENT} == shown
