"""What `explain` and `plan` say: each family of reasons is made to happen, and read back."""

import json
import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aot_build import snapshot
from aot_build.core.result import FAMILIES
from aot_build.store.log import NAME
from tests.flow.conftest import FILES, Project
from tests.flow.consumers import ROOT

pytestmark = pytest.mark.compiler

GENERATE = """\
import os
from pathlib import Path

import thing

def make(out_dir, target, n):
    found = os.listdir(Path(__file__).with_name("shapes"))
    text = os.environ.get("DEMO_TEXT", "x") * n + thing.WORD + str(len(found))
    Path(out_dir, "table.txt").write_text(text)
"""
MORE = {
    "demo/generate.py": GENERATE,
    "demo/shapes/one": "",
    "tools/g++": '#!/bin/sh\nexec /usr/bin/env g++ "$@"\n',
    "site-packages/thing.py": "WORD = 'thing'\n",
    "site-packages/thing-1.0.dist-info/METADATA": "Name: thing\nVersion: 1.0\n",
    "site-packages/thing-1.0.dist-info/RECORD": "thing.py,,\nthing-1.0.dist-info/METADATA,,\n",
}


def equipped(folder: Path, cache: Path) -> Project:
    """With a compiler and an installed package of its own."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("AOT_BUILD_")}
    env |= {
        "AOT_BUILD_CACHE_DIR": str(cache),
        "CXX": str(folder / "tools/g++"),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(folder / "site-packages"))),
    }
    return Project(folder, env)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project that was built, `one`, and its cache."""
    folder = tmp_path_factory.mktemp("finished")
    project = equipped(folder / "one", folder / "cache")
    project.write({**FILES, **MORE})
    (project.path / "tools/g++").chmod(0o755)
    assert project.build()["executed"] == 7
    return folder


@pytest.fixture
def built(finished: Path, tmp_path: Path) -> Project:
    """A copy of it, another checkout, with its build folder and a cache of its own."""
    shutil.copytree(finished, tmp_path, symlinks=True, dirs_exist_ok=True)
    return equipped(tmp_path / "one", tmp_path / "cache")


def explained(project: Project, *words: str, **env: str) -> list[dict[str, Any]]:
    ended = project.command("explain", "--json", *words, **env)
    assert ended.returncode == 0, ended.stderr
    found: list[dict[str, Any]] = json.loads(ended.stdout)
    return found


def missing(project: Project, *words: str, **env: str) -> dict[str, list[dict[str, Any]]]:
    """The misses by kernel."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in explained(project, *words, **env):
        if row["decision"] != "hit":
            rows.setdefault(row["kernel"], []).append(row)
    return rows


def declare(old: str, new: str) -> Callable[[Project], object]:
    return lambda project: project.edit("pyproject.toml", old, new)


def newer_thing(project: Project) -> None:
    old = project.path / "site-packages/thing-1.0.dist-info"
    (old / "METADATA").write_text((old / "METADATA").read_text().replace("1.0", "2.0"))


SCALE, TABLE = 'name = "scale"\n', 'name = "table"\n'
CASES: dict[str, tuple[Callable[[Project], object], str, str]] = {
    "param": (
        declare(SCALE, SCALE + 'standard = "c++20"\n'), "scale",
        "param standard: c++17 -> c++20",
    ),
    "flags": (declare(SCALE, SCALE + 'flags = ["-O1"]\n'), "scale", "flags: - -> -O1"),
    "outputs": (declare(TABLE, TABLE + 'outputs = ["*.txt"]\n'), "table", "outputs: [] -> [*.txt]"),
    "source": (
        lambda p: p.edit("demo/scale.cpp", "FACTOR *", "FACTOR + "), "scale",
        "source {project}/demo/scale.cpp: ",
    ),
    "file": (
        lambda p: p.edit("demo/include/factor.h", "2", "4"), "scale",
        "file {project}/demo/include/factor.h: ",
    ),
    "absent": (
        lambda p: p.write({"demo/first/factor.h": "#define FACTOR 7\n"}), "scale",
        "absent {project}/demo/first/factor.h: absent -> present",
    ),
    "module": (
        lambda p: p.edit("demo/generate.py", '"x"', '"y"'), "table",
        "module {project}/demo/generate.py: ",
    ),
    "listing": (
        lambda p: p.write({"demo/shapes/two": ""}), "table", "listing {project}/demo/shapes: ",
    ),
    "distribution": (newer_thing, "table", "distribution thing: 1.0 ["),
    "toolchain": (
        lambda p: p.edit("tools/g++", "exec", ": \nexec"), "scale",
        "toolchain {project}/tools/g++: ",
    ),
    "evicted": (
        lambda p: shutil.rmtree(p.path.parent / "cache/actions-v1"), "scale", "not in the cache",
    ),
}  # fmt: skip
PATHS = {
    "source": "demo/scale.cpp", "file": "demo/include/factor.h", "absent": "demo/first/factor.h",
    "module": "demo/generate.py", "listing": "demo/shapes", "toolchain": "tools/g++",
}  # fmt: skip


@pytest.mark.parametrize("family", CASES)
def test_a_family_of_reasons(built: Project, family: str) -> None:
    edit, kernel, reason = CASES[family]
    edit(built)
    rows = missing(built)
    assert family in FAMILIES and (family == "evicted" or list(rows) == [kernel])
    for row in rows[kernel]:
        assert (row["decision"], row["family"]) == ("miss", family)
        assert row["reason"].startswith(reason), row["reason"]
        assert row["built"]["family"] == "never-built" and row["built"]["seconds"] > 0
        assert datetime.fromisoformat(row["built"]["at"]).tzinfo is not None
        assert row["key"] and [c["family"] for c in row["changes"][:1]] in ([family], [])
        if path := PATHS.get(family):
            change = row["changes"][0]
            assert change["path"] == str(built.path / path)
            since = datetime.fromisoformat(change["since"]).timestamp()
            assert since == int((built.path / path).stat().st_mtime)


def test_the_environment_and_the_mode(built: Project) -> None:
    told = missing(built, DEMO_TEXT="z")
    assert list(told) == ["table"]
    assert {(r["family"], r["reason"]) for r in told["table"]} == {
        ("env", "env DEMO_TEXT: absent -> z")
    }
    (row, *_) = missing(built, "scale", "-m", "debug")["scale"]
    assert (row["family"], row["reason"]) == ("mode", "mode: release -> debug")
    assert {c["family"] for c in row["changes"]} >= {"mode", "flags"}, "all that changed"


def test_everything_that_changed_is_named(built: Project) -> None:
    built.edit("demo/include/factor.h", "2", "4")
    built.edit("pyproject.toml", SCALE, SCALE + 'flags = ["-g"]\nstandard = "c++20"\n')
    (row, *_) = missing(built)["scale"]
    assert [(c["component"], c["was"], c["now"]) for c in row["changes"][:2]] == [
        ("flags", "", "-g"), ("param standard", "c++17", "c++20")
    ]  # fmt: skip
    assert row["changes"][2]["component"] == "file {project}/demo/include/factor.h"
    assert row["reason"] == "flags: - -> -g"


def test_a_header_that_is_gone_was_last_seen_at_the_last_build(built: Project) -> None:
    built.write({"demo/include/extra.h": "#define FACTOR 2\n", "demo/include/factor.h": ""})
    built.edit("demo/include/factor.h", "", '#include "extra.h"\n')
    built.build()
    (at,) = {row["built"]["at"] for row in explained(built, "scale")}
    (built.path / "demo/include/extra.h").unlink()
    (row, *_) = missing(built)["scale"]
    (change,) = row["changes"]
    assert (change["family"], change["now"]) == ("file", "absent")
    assert change["since"] == at
    assert "last seen" in built.command("explain", "scale").stdout


def test_after_a_build_it_says_why_that_built_what_it_did(built: Project) -> None:
    before = explained(built)
    built.edit("demo/include/factor.h", "2", "4")
    built.build()
    after = explained(built)
    assert {row["decision"] for row in after} == {"hit"} and len(after) == len(before)
    for row in after:
        if row["kernel"] == "scale":
            assert row["built"]["family"] == "file"
            assert "factor.h: " in row["built"]["reason"] and row["origin"] == "here"
        else:
            assert row["built"]["reason"] == "never built here"
    assert "because: file {project}/demo/include/factor.h" in built.command("explain").stdout


def test_a_damaged_result_is_told_after_it_was_mended(built: Project) -> None:
    for blob in (built.path.parent / "cache/cas-v1").rglob("*"):
        if blob.is_file():
            blob.write_bytes(b"\0" * blob.stat().st_size)
    shutil.rmtree(built.path / "build/aot/demo")
    snapshot.forget(str(built.path))
    (built.path / "build/aot/outputs-v1").unlink(missing_ok=True)
    assert built.build()["executed"] == 7
    assert {row["built"]["family"] for row in explained(built)} == {"damaged"}


def test_before_any_build_and_from_another_checkout(built: Project, tmp_path: Path) -> None:
    shutil.rmtree(built.path / "build")
    rows = explained(built)
    assert {(r["decision"], r["origin"]) for r in rows} == {("hit", "cache")}
    assert all(row["built"] == {"at": "", "reason": "", "family": "", "seconds": row["built"][
        "seconds"]} and row["built"]["seconds"] > 0 for row in rows)  # fmt: skip
    assert "never built here; found in the cache" in built.command("explain").stdout
    built.edit("demo/include/factor.h", "2", "4")
    shutil.rmtree(built.path / "build")
    assert {row["family"] for row in missing(built)["scale"]} == {"input"}
    built.env["AOT_BUILD_CACHE_DIR"] = str(tmp_path / "another cache")
    rows = explained(built)
    assert {(r["decision"], r["family"]) for r in rows} == {("miss", "never-built")}


def test_new_and_vanished_variants(built: Project) -> None:
    built.edit("pyproject.toml", "[1, 2, 3]", "[2, 3, 4]")
    told = {row["variant"]: row for row in explained(built, "table")}
    assert {name: row["decision"] for name, row in told.items()} == {
        "n=1": "vanished", "n=2": "hit", "n=3": "hit", "n=4": "miss"
    }  # fmt: skip
    assert told["n=1"]["built"]["at"] and told["n=4"]["family"] == "never-built"
    (change,) = told["n=4"]["changes"]
    assert (change["component"], change["was"], change["now"]) == ("row n", "1", "4")
    assert "  new row n: 1 -> 4" in built.command("plan").stdout
    assert not [r for r in explained(built, "-t", "cpu:x86-64-v3") if r["decision"] == "vanished"]
    built.edit("pyproject.toml", 'name = "table"', 'name = "other"')
    assert {row["decision"] for row in explained(built, "table")} == {"vanished"}
    ended = built.command("explain", "tabel")
    assert ended.returncode == 2 and "did you mean 'table'" in ended.stderr


def test_what_is_wrong_with_another_kernel_is_no_matter(built: Project) -> None:
    built.edit("pyproject.toml", "demo/scale.cpp", "demo/absent.cpp")
    assert {row["decision"] for row in explained(built, "table")} == {"hit"}
    assert "demo/absent.cpp" in built.command("explain", "scale").stderr


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "deleted": lambda content: None,
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "garbage": lambda content: os.urandom(len(content)),
    "older": lambda content: b"\x92\x81\xa1a\x95\x80\xa1x\xa0\xa0\x00\x80",
    "leading nowhere": lambda content: msgspec.msgpack.encode(
        [[], [], [], {"table|cpu|1": [{}, 7, 7, 7, 0.0, ""]}]
    ),
}  # fmt: skip


def test_the_log_decides_nothing(built: Project) -> None:
    """Whatever becomes of it: the same is executed, and the same comes of it."""
    log, reference = built.path / "build/aot" / NAME, built.artifacts()
    for how, damaged in DAMAGES.items():
        content = damaged(log.read_bytes())
        log.unlink()
        if content is not None:
            log.write_bytes(content)
        snapshot.forget(str(built.path))
        assert built.build()["executed"] == 0 and built.artifacts() == reference, how
        assert {row["decision"] for row in explained(built)} == {"hit"}, how
    log.unlink()
    log.mkdir()
    built.edit("demo/include/factor.h", "2", "4")
    assert built.build()["executed"] == 4, "where it can neither be read nor written"
    assert {row["decision"] for row in explained(built)} == {"hit"}


def test_plan_groups_and_counts(built: Project) -> None:
    built.edit("demo/include/factor.h", "2", "4")
    built.edit("pyproject.toml", "[1, 2, 3]", "[1, 2, 3, 4]")
    ended = built.command("plan")
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("build scale [cpu] BLOCK=32, T=float: file {project}/demo/include/")
    assert "and 3 more variants of scale for the same reason" in ended.stdout
    assert "build table [cpu] n=4: never built here" in lines
    assert any(line.startswith("expected: ") for line in lines)
    assert lines[-1] == "8 variants: 3 hits, 5 to build"
    each = built.command("plan", "--all").stdout
    assert each.count("build scale ") == 4 and "more variants" not in each
    rows = json.loads(built.command("plan", "--json").stdout)
    assert all(row["expected_s"] > 0 for row in rows if not row["hit"])


def test_questions_to_the_code_are_told(built: Project) -> None:
    built.edit("pyproject.toml", "[{ n = [1, 2, 3] }]", '["demo.listing:rows"]')
    built.write({"demo/listing.py": "def rows(targets):\n    yield {'n': 1}\n"})
    built.build()
    built.edit("demo/listing.py", "1", "9")
    (row,) = [r for r in json.loads(built.command("plan", "--json").stdout) if not r["hit"]]
    (helper,) = row["helpers"]
    assert not helper["hit"] and helper["reason"].startswith("module {project}/demo/listing.py: ")
    (row,) = [r for r in explained(built, "table") if r["decision"] != "vanished"]
    assert [s["decision"] for s in row["stages"]] == ["hit"], "the plan has asked"
    stats = json.loads(built.command("stats", "--json").stdout)
    assert stats["kernels"]["table"]["variants"] == 1, "a question is no variant"


CUDA = """\
[tool.aot-build]
package = "demo"
targets = ["cuda:sm_90a"]

[[tool.aot-build.kernels]]
name = "shift"
backend = "cuda"
output = "library"
source = ["demo/shift.cu", "demo/grid.cpp"]
configs = [{}]
"""


@pytest.mark.nvcc
@pytest.mark.slow
def test_stages_are_told_like_variants(project: Project) -> None:
    project.write(
        {
            "pyproject.toml": CUDA,
            "demo/grid.cpp": "int blocks(int n) { return n; }\n",
            "demo/shift.cu": 'extern "C" __global__ void shift(float* x) { ++*x; }\n',
        }
    )
    project.build()
    project.edit("demo/grid.cpp", "return n", "return n + 1")
    (row,) = explained(project)
    one, two = row["stages"]
    assert (one["decision"], two["decision"], two["family"]) == ("hit", "miss", "source")
    assert "demo/grid.cpp" in two["stage"] and two["changes"][0]["since"]
    assert row["reason"].startswith("source {project}/demo/grid.cpp: ")
    told = project.command("plan").stdout
    assert "before them: 1 object action" in told and "1 to build" in told
