"""What a trace is made of, told from the tracer's records; no tracer is needed."""

import dataclasses
import sys
from pathlib import Path
from typing import get_args

import pytest

from aot_build.backends.tracing.hermetic import trespasses
from aot_build.backends.tracing.observed import Observed, merged, observe, plain
from aot_build.backends.tracing.records import Kind, Log
from aot_build.core.action import Action
from aot_build.core.work import WorkOrder


def seen(*records: tuple[Kind, str]) -> Observed:
    return observe(Log(list(records)))


def test_each_kind_of_record() -> None:
    found = seen(
        ("r", "/a"), ("l", "/b"), ("s", "/c"), ("a", "/d"), ("d", "/e"), ("w", "/f"), ("x", "/g"),
        ("u", "/h"), ("e", "NAME"),
    )  # fmt: skip
    assert found == Observed(
        read={"/a", "/b", "/g", "/h"}, found={"/c"}, missed={"/d"}, listed={"/e"}, written={"/f"},
        ran={"/g", "/h"}, untraceable={"/h"}, variables={"NAME"},
    )  # fmt: skip
    assert len(get_args(Kind)) == 9


def test_what_was_written_first_is_the_actions_own() -> None:
    own: list[tuple[Kind, str]] = [("w", "/p/o"), ("w", "/p/made")]
    later: list[tuple[Kind, str]] = [("r", "/p/o"), ("s", "/p/made/x"), ("x", "/p/o"), ("a", "/q")]
    assert seen(*own, *later) == Observed(written={"/p/o", "/p/made"}, missed={"/q"})


@pytest.mark.parametrize("kind", ["r", "s", "d"])
def test_what_was_written_later_is_an_input_all_the_same(kind: Kind) -> None:
    found = seen((kind, "/p/o"), ("w", "/p/o"), ("r", "/p/o"))
    assert found.read == {"/p/o"} and found.written == {"/p/o"}


def test_what_was_missed_and_then_written_is_its_own_but_was_missed() -> None:
    found = seen(("a", "/p/o"), ("w", "/p/o"), ("r", "/p/o"))
    assert found.missed == {"/p/o"} and not found.read


def test_what_was_read_counts_by_that_alone() -> None:
    assert seen(("s", "/a"), ("r", "/a")).found == set()


def test_the_path_behind_a_name() -> None:
    found = observe(Log([("r", "in/a.h"), ("e", "in/x")]), lambda name: f"/root/./{name}")
    assert found.read == {"/root/in/a.h"} and found.variables == {"in/x"}


@pytest.mark.parametrize(
    ("log", "whole"), [(Log([]), True), (Log([], "full"), False), (Log([], strays=True), False)]
)
def test_gaps(log: Log, whole: bool) -> None:
    assert observe(log).whole is whole
    assert (observe(log).gap, observe(log).strays) == (log.reason, log.strays)


def test_what_either_saw() -> None:
    one = Observed(read={"/a"}, gap="full", strays=True)
    assert merged(one, Observed(read={"/b"}, missed={"/c"}, gap="other")) == Observed(
        read={"/a", "/b"}, missed={"/c"}, gap="full", strays=True
    )


def test_two_dots_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/deep")
    root = str(tmp_path.resolve())
    assert plain(f"{tmp_path}/link/../x") == f"{root}/far/x"
    assert plain(f"{tmp_path}/link/..") == f"{root}/far"
    assert plain(f"{tmp_path}/link/./x//y") == f"{tmp_path}/link/x/y"
    assert plain(f"{tmp_path}/link/..x") == f"{tmp_path}/link/..x"


@pytest.fixture
def order(tmp_path: Path) -> WorkOrder:
    for name in ("project/inc", "out", "scratch"):
        (tmp_path / name).mkdir(parents=True)
    action = Action(
        backend="cpp", stage="library", target="cpu", mode="release", inputs=(),
        toolchain="1" * 32,
        command=("/opt/cc/bin/g++",), kernel="k", label="-",
        params=(("flags", ("-isystem/opt/inc", "-Wl,-rpath,/opt/lib", "-DX=/opt/data")),),
        env=(("HOME_OF_IT", "{project}/../beside"),),
    )  # fmt: skip
    roots = {"project": str(tmp_path / "project")}
    return WorkOrder(action, roots, str(tmp_path / "out"), str(tmp_path / "scratch"))


def test_looks_that_count(order: WorkOrder) -> None:
    project = Path(order.roots["project"])
    for name in ("read.h", "inc/found.h"):
        (project / name).touch()
    (project / "bare").mkdir()
    (project / "listed").symlink_to("bare")
    (project / "link").symlink_to("inc")
    (project / "nowhere").symlink_to("gone")
    found = Observed(
        read={f"{project}/read.h", f"{project}/inc/x.h", f"{project}/link/x.h"},
        found={
            str(project), f"{project}/inc", f"{project}/read.h", f"{project}/inc/found.h",
            f"{project}/bare", f"{project}/link", f"{project}/went", order.out_dir, order.scratch,
            str(project.parent), f"{project}/listed",
        },
        listed={f"{project}/listed"},
        missed={f"{project}/nowhere", f"{project}/missed.h"},
    )  # fmt: skip
    names = {path.removeprefix(f"{project}/") for path in found.looked_at(order)}
    # `inc` is there as what was read lies in it; `link` might lead elsewhere.
    assert names == {"inc/found.h", "bare", "link", "nowhere"}
    found.written = {f"{project}/bare"}
    assert f"{project}/bare" not in found.looked_at(order)


def test_programs_that_path_was_searched_for() -> None:
    search = ["/one", "/two", "/three"]
    first = Observed(ran={"/one/a", "/else/b"})
    assert first.programs(search) == {"a"}
    looked = Observed(found={"/one/a"}, missed={"/one/b"})
    assert looked.programs(search) == set()
    asked = Observed(found={"/two/a"}, missed={"/one/a"})
    assert asked.programs(search) == {"a"}, "a shell looks before it starts one, or does not"
    later = Observed(ran={"/three/c"}, missed={"/one/c", "/two/c"})
    assert later.programs(search) == {"c"}
    assert Observed(ran={"/three/c"}, missed={"/one/c"}).programs(search) == set()


# What it has no business with


def test_what_lies_inside_is_no_trespass(order: WorkOrder) -> None:
    project = order.roots["project"]
    link = f"{project}/link"
    Path(link).symlink_to("../elsewhere")
    order = dataclasses.replace(
        order, roots={**order.roots, "toolchain": link}, import_roots=("/opt/import",)
    )
    inside = {
        f"{project}/a.h", f"{order.out_dir}/x", f"{order.scratch}/x", "/usr/include/stdio.h",
        "/opt/inc/a.h", "/opt/lib/b.so", "/opt/data", "/opt/cc/lib/gcc/x", "/proc/self/maps",
        f"{Path(project).parent}/beside/t", "/dev/null", f"{sys.prefix}/x.py", "/opt/import/m.py",
        str(Path(link).resolve() / "a.h"),
    }  # fmt: skip
    written = {f"{order.out_dir}/x", f"{order.scratch}/y", "/dev/null"}
    assert trespasses(order, Observed(read=inside, listed={project}, written=written)) == ()


def test_what_lies_outside_is(order: WorkOrder) -> None:
    project = order.roots["project"]
    found = Observed(
        read={"/opt/other/a.h", "/usrx/a.h"}, listed={"/opt"}, missed={"/opt/missed"},
        found={"/opt/found"}, written={f"{project}/a.h"},
        untraceable={"/sbin/ldconfig", "/bin/static"}, strays=True,
    )  # fmt: skip
    assert [str(each) for each in trespasses(order, found)] == [
        "reads /opt",
        "reads /opt/other/a.h",
        "reads /usrx/a.h",
        "runs a program that the tracer does not reach, which cannot be traced",
        "runs /bin/static, which cannot be traced",
        f"writes {project}/a.h",
    ]
