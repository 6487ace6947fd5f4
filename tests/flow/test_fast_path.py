"""The fast path and the slow path agree: what the snapshot calls fresh, a full look does too."""

import os
import shutil
import time

import pytest

from aot_build import cli, snapshot
from aot_build.fastpath import SHORT, TAKES, nothing_to_do, plain_words, shape_of
from aot_build.request import Request
from tests.flow.settled import COOL, is_fresh, settle

pytestmark = [pytest.mark.slow, pytest.mark.compiler]


WORDS = (
    "", "--json", "--target cpu", "--target cpu -t cpu:x86-64-v3", "-m debug --mode fast",
    "--kernel scale --kernel=table", "--target=cpu --json --project=/x", "-j 2 --jobs=3",
    "--mode=", "--mod fast", "-mfast", "--target -x", "--jobs 0", "--jobs ٣", "--kernel", "x",
    "--keep-going", "--json=1", "-t=cpu",
)  # fmt: skip


@pytest.mark.parametrize("line", WORDS)
def test_words_that_are_read_here_mean_what_the_command_line_reads(line):
    words = plain_words(line.split(), TAKES)
    if words is None:
        return
    asked = cli._parser().parse_args(["build", *line.split()])
    request = Request("/x", targets=asked.target, mode=asked.mode, kernels=asked.kernel)
    assert shape_of(words) == request.shape
    assert words.get("--project", ["."])[-1] == asked.project
    assert ("--json" in words) == asked.json


def test_the_usual_words_are_read_here():
    assert [plain_words(line.split(), TAKES) is not None for line in WORDS] == [True] * 8 + [
        False
    ] * (len(WORDS) - 8)
    assert {*SHORT.values()} <= {*TAKES}
    listed = ["--csv", "a.csv", "b=c.csv", "--json", "--csv", "d"]
    assert plain_words(listed, TAKES, ("--csv",)) == {
        "--csv": ["a.csv", "b=c.csv", "d"],
        "--json": [],
    }


def test_requests_of_different_shapes_are_fresh_side_by_side(project):
    asked = {
        "all": ([], {}),
        "one": (["--kernel", "scale"], {"kernels": ["scale"]}),
        "other": (
            ["--kernel", "table", "-m", "release"],
            {"kernels": ["table"], "mode": "release"},
        ),
    }
    for words, _ in asked.values():
        project.build(*words)
    time.sleep(COOL)
    for _ in range(2):
        found = [project.build(*words) for words, _ in asked.values()]
    assert [(each["actions"], each["executed"]) for each in found] == [(7, 0), (4, 0), (3, 0)]
    assert all(is_fresh(project, **shape) for _, shape in asked.values())
    slow = project.artifacts()
    project.edit("demo/generate.py", "'x'", "'y'")
    fresh = [is_fresh(project, **shape) for _, shape in asked.values()]
    assert fresh == [False, True, False], "a kernel that stands on nothing that was edited"
    assert project.build("--kernel", "table", "-m", "release")["executed"] == 3
    # What one of them has changed in the result is no longer what the others left there.
    assert not is_fresh(project, kernels=["scale"]) and project.artifacts() != slow
    assert project.build("--kernel", "scale")["executed"] == 0


def test_another_target_takes_the_result_over(project):
    project.build()
    project.build("--target", "cpu")
    time.sleep(COOL)
    project.build("--target", "cpu")
    assert is_fresh(project, targets=["cpu"]) and not is_fresh(project)
    project.build()
    assert not is_fresh(project, targets=["cpu"])


def without_time(line: str) -> str:
    """The last line of a build, less its seconds."""
    assert " built in " in line
    return line.rpartition(" in ")[0]


MUTATIONS = {
    "source edited": lambda p: p.edit("demo/scale.cpp", "BLOCK", "(BLOCK)"),
    "header edited": lambda p: p.edit("demo/include/factor.h", "2", "3"),
    "header shadowed": lambda p: p.write({"demo/first/factor.h": "#define FACTOR 9\n"}),
    "same size, same mtime": lambda p: same_stat(p, "demo/include/factor.h", "2", "4"),
    "module edited": lambda p: p.edit("demo/generate.py", "'x'", "'y'"),
    "row added": lambda p: p.edit("demo/scale.csv", "double,64", "double,64\ndouble,65"),
    "pyproject edited": lambda p: p.edit("pyproject.toml", "[1, 2, 3]", "[1, 2, 4]"),
    "source removed": lambda p: (p.path / "demo/scale.cpp").unlink(),
    "artifact removed": lambda p: next(p.result.rglob("*.so")).unlink(),
    "artifact changed": lambda p: next(p.result.rglob("*.so")).write_bytes(b"no library"),
    "manifest removed": lambda p: (p.result / "manifest.json").unlink(),
    "result removed": lambda p: shutil.rmtree(p.result),
    "mode in the environment": lambda p: p.env.update(AOT_BUILD_MODE="fast"),
    "targets in the environment": lambda p: p.env.update(AOT_BUILD_TARGETS="cpu"),
    "include path in the environment": lambda p: p.env.update(CPATH=str(p.path / "demo/first")),
    "another compiler": lambda p: other_compiler(p),
}


def same_stat(project, name, old, new) -> None:
    """An edit that only ctime tells."""
    path = project.path / name
    before = os.stat(path)
    project.edit(name, old, new)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def other_compiler(project) -> None:
    """A g++ earlier on PATH."""
    place = project.path.parent / "bin"
    place.mkdir(exist_ok=True)
    script = place / "g++"
    script.write_text('#!/bin/sh\nexec /usr/bin/g++ -DEXTRA "$@"\n')
    script.chmod(0o755)


@pytest.mark.parametrize("name", MUTATIONS)
def test_what_changes_the_result_is_never_fresh(project, name):
    project.env["PATH"] = f"{project.path.parent / 'bin'}:{project.env['PATH']}"
    settle(project)
    MUTATIONS[name](project)
    assert not is_fresh(project)
    if name == "source removed":
        assert project.command("build").returncode == 2
        return
    summary = project.build()
    wanted = project.artifacts()
    snapshot.forget(str(project.path))
    assert project.build()["executed"] == 0
    assert project.artifacts() == wanted
    assert summary["failed"] == 0


NEUTRAL = {
    "nothing": lambda p: None,
    "an unrelated file": lambda p: p.write({"notes.txt": "x"}),
    "an unrelated variable": lambda p: p.env.update(UNRELATED="1"),
    "another number of jobs": lambda p: p.env.update(AOT_BUILD_JOBS="1"),
}


@pytest.mark.parametrize("name", NEUTRAL)
def test_what_changes_nothing_is_fresh(project, name):
    settle(project)
    before = project.artifacts()
    NEUTRAL[name](project)
    assert is_fresh(project)
    snapshot.forget(str(project.path))
    assert project.build()["executed"] == 0
    assert project.artifacts() == before


SEARCHES = (
    "".join(f'#if __has_include("none{n}.h")\n#endif\n' for n in range(20))
    + """\
#if __has_include("later/w.h")
#include "later/w.h"
#endif
#if __has_include("link/w.h")
#include "link/w.h"
#endif
#ifndef W
#define W 1
#endif
extern "C" T scale(T x) { return x * BLOCK * W; }
"""
)


@pytest.mark.parametrize("place", ["demo/first/later", "demo/elsewhere"])
def test_what_appears_below_a_folder_that_stays_as_it_is(project, place):
    """Many absent files are watched by the folder that they would lie in: not those further down
    in a folder that has come meanwhile, nor those where a link in it leads."""
    project.write({"demo/scale.cpp": SEARCHES})
    (project.path / "demo/first/link").symlink_to("../elsewhere")
    project.build()
    project.write({"demo/first/later/other.h": ""})
    settle(project)
    project.write({f"{place}/w.h": "#define W 2\n"})
    assert not is_fresh(project)
    assert project.build()["executed"] == 4


def test_a_link_that_leads_nowhere_is_no_edit(project):
    project.edit("demo/scale.cpp", "#include", '#if __has_include("none.h")\n#endif\n#include')
    (project.path / "demo/first/none.h").symlink_to("nowhere.h")
    settle(project)
    project.write({"demo/first/nowhere.h": ""})
    assert not is_fresh(project)


def test_a_fresh_build_reports_as_a_full_one_does(project, tmp_path):
    settle(project)
    path = tmp_path / "summary.json"
    fast = project.build(AOT_BUILD_SUMMARY=str(path))
    assert path.exists()
    snapshot.forget(str(project.path))
    slow = project.build()
    for summary in (fast, slow):
        summary.pop("wall_s")
    assert fast == slow
    time.sleep(COOL)
    project.build()
    assert is_fresh(project)
    said = project.command("build").stderr
    snapshot.forget(str(project.path))
    assert without_time(project.command("build").stderr) == without_time(said)


def test_other_command_lines_are_left_to_the_command_line(tmp_path):
    for words in (["plan"], ["build", "--keep-going"], [], ["build", "-C", "x=y"]):
        assert not nothing_to_do([*words])
    assert not nothing_to_do(["build", "--project", str(tmp_path)])
