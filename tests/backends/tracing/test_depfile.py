"""Depfiles as gcc writes them, and what could have been included instead."""

from pathlib import Path

import pytest

from aot_build.backends.tracing.depfile import read_depfile, trace_of_depfiles
from aot_build.core.roles import Roles
from aot_build.core.trace import Trace


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.o: a.cpp b.h\n", ["a.cpp", "b.h"]),
        ("0.o: a.cpp \\\n  b.h \\\n c.h\n", ["a.cpp", "b.h", "c.h"]),
        ("0.o: \\\n /very/long.cpp\n", ["/very/long.cpp"]),
        ("0.o: a\\ b.h c\\\td.h\n", ["a b.h", "c\td.h"]),
        ("0.o: x\\#y$$z.h\n", ["x#y$z.h"]),
        ("0.o: c:d.h e\\:f.h\n", ["c:d.h", "e:f.h"]),
        ("0.o: back\\slash.h\n", ["back\\slash.h"]),
        ("0.o: ends\\\\\\ x.h\n", ["ends\\ x.h"]),
        ("0.o: w\u3000ide.h n\u00a0b.h\n", ["w\u3000ide.h", "n\u00a0b.h"]),
        ("0.o: a.cpp b.h\n\nb.h:\n", ["a.cpp", "b.h"]),
        ("0.o: a.cpp\nb.h: c.h a.cpp\n", ["a.cpp", "c.h"]),
        ("a\\ b.h:\n", []),
        ("0.o:\n", []),
        ("", []),
    ],
)
def test_reading(text: str, words: list[str]) -> None:
    assert read_depfile(text) == words


class Tree:
    """A project, include folders outside of it, and the depfile of its one source."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scratch = root / "scratch"
        self.scratch.mkdir()

    def write(self, *names: str, content: str = "") -> None:
        for name in names:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(content)

    def trace(self, read: list[str], searched: list[str]) -> Trace:
        depfile = self.scratch / "0.d"
        depfile.write_text("0.o: " + " ".join(str(self.root / name) for name in read) + "\n")
        folders = [str(self.root / name) for name in searched]
        roles = Roles({"project": str(self.root / "p"), "away": str(self.root)})
        return trace_of_depfiles([depfile], folders, roles, self.scratch)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.write("p/src/a.cpp")
    return tree


def test_files_are_named_by_role(tree: Tree) -> None:
    tree.write("p/inc/a.h", "away/include/x/y.h")
    trace = tree.trace(["p/src/a.cpp", "p/src/../inc/a.h", "away/include/x/y.h"], [])
    assert trace.files == ("{away}/away/include/x/y.h", "{project}/inc/a.h", "{project}/src/a.cpp")


def test_a_header_could_have_come_from_an_earlier_folder(tree: Tree) -> None:
    tree.write("p/two/deep/a.h")
    trace = tree.trace(["p/src/a.cpp", "p/two/deep/a.h"], ["p/one", "p/two", "p/three"])
    assert set(trace.missing) == {
        "{project}/one/deep/a.h", "{project}/src/deep/a.h", "{project}/two/deep/deep/a.h",
        "{project}/two/deep/a.h.gch",
    }  # fmt: skip


def test_a_header_of_the_system_could_have_come_from_the_project(tree: Tree) -> None:
    """However it was named: sys/types.h is found in a folder that the compiler adds itself."""
    tree.write("away/include/x86_64-linux-gnu/sys/types.h")
    read = ["p/src/a.cpp", "away/include/x86_64-linux-gnu/sys/types.h"]
    names = ("x86_64-linux-gnu/sys/types.h", "sys/types.h", "types.h")
    with_folder = {f"{{project}}/{at}/{n}" for at in ("inc", "src") for n in names}
    assert set(tree.trace(read, ["p/inc"]).missing) == with_folder
    without = {f"{{project}}/src/{n}" for n in names}
    assert set(tree.trace(read, []).missing) == without, "quoted, it is looked for beside"


def test_what_is_there_is_not_absent(tree: Tree) -> None:
    tree.write("p/one/a.h", "p/two/a.h", "p/src/a.h")
    trace = tree.trace(["p/src/a.cpp", "p/two/a.h"], ["p/one", "p/two"])
    assert set(trace.missing) == {"{project}/two/a.h.gch"}


def test_what_a_source_asks_for_was_looked_for(tree: Tree) -> None:
    tree.write("p/inc/here.h")
    source = '#if __has_include("opt/in.h") || __has_include ( <here.h> )\n#endif\n'
    tree.write("p/src/a.cpp", content=source)
    trace = tree.trace(["p/src/a.cpp"], ["p/inc"])
    assert trace.files == ("{project}/inc/here.h", "{project}/src/a.cpp")
    assert sorted(trace.missing) == [
        "{project}/inc/opt/in.h", "{project}/src/here.h", "{project}/src/opt/in.h",
    ]  # fmt: skip
    assert dict(trace.absent)["{project}/inc"] == ("opt/in.h",)


def test_files_of_the_action_itself_are_nobodys_input(tree: Tree) -> None:
    tree.write("scratch/made.h")
    assert tree.trace(["p/src/a.cpp", "scratch/made.h"], []).files == ("{project}/src/a.cpp",)
