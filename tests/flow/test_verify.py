"""Built again without the cache: what is not reproducible is named, and where its bytes differ."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aot_build.causes import SCRATCH, TIME
from tests.flow.conftest import Project

pytestmark = pytest.mark.compiler

PYPROJECT = """\
[tool.aot-build]
package = "demo"
targets = ["cpu"]

[[tool.aot-build.kernels]]
name = "steady"
backend = "python"
source = "demo.make:steady"
configs = [{ n = [1, 2] }]

[[tool.aot-build.kernels]]
name = "clock"
backend = "python"
source = "demo.make:clock"
configs = [{}]

[[tool.aot-build.kernels]]
name = "place"
backend = "python"
source = "demo.make:place"
configs = [{}]

[[tool.aot-build.kernels]]
name = "library"
backend = "cpp"
source = "demo/library.cpp"
configs = ["demo.make:rows"]
"""
MAKE = """\
import time
from pathlib import Path

def steady(out_dir, target, n):
    Path(out_dir, "steady.txt").write_text("same" * n)

def clock(out_dir, target):
    Path(out_dir, "clock.txt").write_text(f"made at {time.time_ns()}\\n")
    Path(out_dir, "steady.txt").write_text("same")

def place(out_dir, target):
    Path(out_dir, "place.txt").write_text(f"made in {out_dir}\\n")

def rows(targets):
    yield {"N": 1}
"""
COMPILER = """\
#!/bin/sh
# As one that is not reproducible: it puts the time into what it compiles.
case " $* " in *" -c "*) set -- -DSTAMP="\\"$(date +%s%N)\\"" "$@" ;; esac
exec /usr/bin/env g++ "$@"
"""
FILES = {
    "pyproject.toml": PYPROJECT,
    "demo/__init__.py": "",
    "demo/make.py": MAKE,
    "demo/library.cpp": 'extern "C" const char* stamp() { return STAMP; }\n',
    "tools/g++": COMPILER,
}


@pytest.fixture
def unsteady(new_project: Callable[..., Project]) -> Project:
    project = new_project(files=FILES)
    (project.path / "tools/g++").chmod(0o755)
    project.env["CXX"] = str(project.path / "tools/g++")
    return project


def verified(project: Project, *words: str, status: int) -> list[dict[str, Any]]:
    ended = project.command("verify", "--json", *words)
    assert ended.returncode == status, ended.stderr
    rows: list[dict[str, Any]] = json.loads(ended.stdout)
    return rows


def contents(cache: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in cache.rglob("*") if p.is_file()}


def test_where_the_bytes_differ(unsteady: Project, tmp_path: Path) -> None:
    unsteady.build()
    before = contents(tmp_path / "cache")
    rows = {row["kernel"]: row for row in verified(unsteady, "--all", status=1) if not row["stage"]}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "steady": "same", "clock": "different", "place": "different", "library": "different"
    }  # fmt: skip
    (clock,) = rows["clock"]["differences"]
    assert (clock["artifact"], clock["kept_size"], clock["now_size"]) == ("clock.txt", 28, 28)
    assert clock["hint"] == TIME and 8 < clock["offset"] < 27 and clock["differing"] > 0
    assert "made at 1" in clock["kept"] and clock["kept"] != clock["now"]
    assert rows["clock"]["detail"] == "not reproducible: clock.txt"
    (place,) = rows["place"]["differences"]
    assert place["hint"] == SCRATCH
    (library,) = rows["library"]["differences"]
    assert library["artifact"] == "library.so" and library["hint"] == TIME
    assert ".rodata" in library["sections"] and ".text" not in library["sections"]
    assert contents(tmp_path / "cache") == before, "nothing of it is written to the cache"
    told = unsteady.command("verify", "--kernel", "library").stdout
    assert "library.so (" in told and ".rodata" in told and f"hint: {TIME}" in told


def test_what_is_reproducible(unsteady: Project) -> None:
    unsteady.build()
    rows = verified(unsteady, "--all", "--kernel", "steady", status=0)
    assert [row["verdict"] for row in rows] == ["same", "same"]
    told = unsteady.command("verify", "--sample", "1", "--kernel", "steady")
    assert told.returncode == 0
    assert told.stdout == "1 variant built again without the cache: 0 differ or fail\n"


def test_questions_are_asked_again(unsteady: Project, tmp_path: Path) -> None:
    unsteady.write({"demo/make.py": MAKE.replace(
        "rows(targets):\n", "rows(targets, out_dir):\n    Path(out_dir, 'now.h').write_text("
        "f'// {time.time_ns()}')\n"
    )})  # fmt: skip
    unsteady.build("--kernel", "library")
    rows = verified(unsteady, "--all", "--kernel", "library", status=1)
    (question,) = [row for row in rows if row["stage"]]
    assert question["verdict"] == "different" and "demo.make:rows" in question["variant"]
    (found,) = question["differences"]
    assert found["artifact"].endswith("now.h") and found["hint"] == TIME
    # One that nobody has asked yet is not kept, either.
    unsteady.edit("demo/make.py", '{"N": 1}', '{"N": 1}; yield {"N": 2}')
    before = contents(tmp_path / "cache")
    rows = verified(unsteady, "--all", "--kernel", "library", status=1)
    assert "unbuilt" in {row["verdict"] for row in rows}
    assert contents(tmp_path / "cache") == before


def test_what_leaves_other_files_or_fails(unsteady: Project) -> None:
    named = """    Path(out_dir, f"{time.time_ns()}.txt").write_text("")\n"""
    unsteady.edit("demo/make.py", '    Path(out_dir, "place', named + '    Path(out_dir, "place')
    unsteady.build("--kernel", "place")
    (row,) = verified(unsteady, "--all", "--kernel", "place", status=1)
    sizes = {(d["kept_size"], d["now_size"]) for d in row["differences"][:2]}
    assert sizes == {(-1, 0), (0, -1)}, "one is only kept, one was only built again"
    assert "only what" in unsteady.command("verify", "--all", "--kernel", "place").stdout
    unsteady.edit("demo/make.py", "    yield", "    raise ValueError('no rows')\n    yield")
    (row,) = verified(unsteady, "--all", "--kernel", "library", status=1)
    assert row["verdict"] == "failed" and "no rows" in row["detail"]
