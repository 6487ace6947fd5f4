"""`aot-build gc`, and many builds of one project on one cache while it runs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aot_build import snapshot
from aot_build.store.leases import Leases
from tests.flow.conftest import Project

ROWS = 12
GENERATE = """\
import os, time
from pathlib import Path

def make(out_dir, target, n):
    with open(os.path.dirname({root!r}) + "/ran", "a") as log:
        log.write(f"{{n}}\\n")
    time.sleep({seconds})
    Path(out_dir, "table.txt").write_text(f"{{n}} " * 500)
    Path(out_dir, "shared.txt").write_text("the same for all")
"""
PYPROJECT = """\
[tool.aot-build]
package = "demo"

[[tool.aot-build.kernels]]
name = "table"
backend = "python"
source = "demo.generate:make"
configs = [{ n = %s }]
"""


def files(root: Path, rows: int = ROWS, seconds: float = 0.0) -> dict[str, str]:
    return {
        "pyproject.toml": PYPROJECT % list(range(rows)),
        "demo/__init__.py": "",
        "demo/generate.py": GENERATE.format(root=str(root / "x"), seconds=seconds),
    }


@pytest.fixture
def make(new_project: Callable[..., Project], tmp_path: Path) -> Callable[..., Project]:
    def made(name: str = "one", **options: float) -> Project:
        return new_project(name, files(tmp_path, **options))  # type: ignore[arg-type]

    return made


def ran(tmp_path: Path) -> list[int]:
    """Which rows were executed, in order of their numbers."""
    return sorted(map(int, (tmp_path / "ran").read_text().split()))


def age(cache: Path, days: float) -> None:
    then = time.time() - days * 86400
    for path in cache.glob("*-v1/*/*"):
        os.utime(path, (then, then))


# The command


def test_a_cache_is_collected_by_size_and_the_next_build_makes_it_again(make, tmp_path):
    project = make()
    project.build()
    cache = tmp_path / "cache"
    dry = project.command("gc", "--max-size", "1KiB", "--dry-run")
    assert dry.returncode == 0 and "would remove 12 results, 13 blobs" in dry.stdout
    assert len(list(cache.glob("cas-v1/*/*"))) == 13
    ended = project.command("gc", "--max-size", "1KiB", "--json")
    report = json.loads(ended.stdout)
    assert report["removed"]["results"] == ROWS and report["removed"]["bytes"] > 12_000
    assert report["cache_dir"] == str(cache) and report["kept"]["results"] == 0
    assert report["limits"] == {"max_bytes": 1024, "max_seconds": None}
    assert not list(cache.glob("*-v1/*/*")), "blobs and traces went with the results"
    snapshot.forget(str(project.path))
    before = project.artifacts()
    assert project.build()["executed"] == ROWS
    assert project.artifacts() == before


def test_by_age_what_was_hit_since_stays(make, tmp_path):
    make().build()
    age(tmp_path / "cache", 40)
    half = make("half", rows=ROWS // 2)
    assert half.build()["hits"] == ROWS // 2
    ended = half.command("gc", "--max-age", "30d")
    assert f"removed {ROWS // 2} results, {ROWS // 2} blobs" in ended.stdout
    assert f"kept {ROWS // 2} results, {ROWS // 2 + 1} blobs" in ended.stdout
    assert make("other").build()["hits"] == ROWS // 2
    assert ran(tmp_path) == sorted([*range(ROWS), *range(ROWS // 2, ROWS)])


def test_the_limits_that_hold_without_any_are_said(make):
    project = make()
    project.build()
    ended = project.command("gc")
    assert "keep at most 10.0 GiB, used in the last 90 days (the default)" in ended.stdout
    assert "removed 0 results, 0 blobs" in ended.stdout
    assert "--max-size 10GiB --max-age 90d" in " ".join(project.command("gc", "-h").stdout.split())


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["--max-age", "30"], "not an age: '30'"),
        (["--max-age", "1y"], "not an age: '1y'"),
        (["--max-size", "much"], "not a size: 'much'"),
        (["--max-size", "-1"], "not a size: '-1'"),
        (["--cache-dir", "demo"], "this is no cache"),
    ],
)
def test_wrong_words(make, words, wrong):
    project = make()
    ended = project.command("gc", *words)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert wrong in ended.stderr


def test_where_no_project_is(make, tmp_path):
    project = make()
    project.build()
    nowhere = Project(tmp_path / "nowhere", dict(project.env))
    nowhere.path.mkdir()
    assert "kept 12 results" in nowhere.command("gc").stdout
    del nowhere.env["AOT_BUILD_CACHE_DIR"]
    named = nowhere.command("gc", "--cache-dir", str(tmp_path / "cache"))
    assert "kept 12 results" in named.stdout
    user = nowhere.command("gc", XDG_CACHE_HOME=str(tmp_path / "xdg"))
    assert user.returncode == 0 and "there is no cache yet" in user.stdout
    assert not (tmp_path / "xdg").exists()


def test_a_second_one_says_so_and_ends(make, tmp_path):
    project = make()
    project.build()
    first = Leases(tmp_path / "cache")
    assert first.collect()
    ended = project.command("gc", "--max-size", "0")
    first.close()
    assert ended.returncode == 0
    assert "nothing was removed: another gc is at work on this cache" in ended.stdout


def test_stats_count_the_cache_and_the_builds_that_run(make, tmp_path):
    project = make()
    project.build()
    running = Leases(tmp_path / "cache")
    running.begin()
    found = json.loads(project.command("stats", "--json").stdout)
    shown = project.command("stats").stdout
    running.close()
    assert found["live_builds"] == 1 and "1 build at work" in shown
    assert found["results"] == ROWS and found["blobs"] == ROWS + 1
    assert found["sizes"]["blobs"] == found["blob_bytes"] > 0
    assert found["sizes"]["results"] > 0 and found["sizes"]["traces"] > 0
    row = found["kernels"]["table"]
    assert (row["variants"], row["built"], row["hits"]) == (ROWS, ROWS, 0)
    sizes = [len(content) for name, content in project.artifacts().items() if "table/" in name]
    assert row["bytes"] == sum(sizes)


# Many builds at once


def start(project: Project) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "aot_build", "build", "--json", "-j", "2"],
        env=project.env, cwd=project.path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def round_of_builds(projects: list[Project], *limits: str) -> list[dict]:
    """All of them at once, `gc` in a loop beside them; their summaries."""
    builds = [start(project) for project in projects]
    collections = 0
    while any(build.poll() is None for build in builds):
        ended = projects[0].command("gc", "--json", *limits)
        assert ended.returncode == 0, ended.stderr
        collections += 1
    assert collections
    ends = [build.communicate(timeout=100) for build in builds]
    assert [build.returncode for build in builds] == [0] * len(builds), ends
    return [json.loads(out.splitlines()[-1]) for out, _ in ends]


def check_round(projects: list[Project], summaries: list[dict], tmp_path: Path, rows: int) -> None:
    assert sum(summary["executed"] for summary in summaries) == rows
    assert all(s["executed"] + s["hits"] == rows and not s["failed"] for s in summaries)
    assert ran(tmp_path) == list(range(rows))
    first = projects[0].artifacts()
    assert all(project.artifacts() == first for project in projects)
    texts = [content.decode() for name, content in first.items() if name.endswith("table.txt")]
    assert sorted(texts) == sorted(f"{n} " * 500 for n in range(rows))
    cache = tmp_path / "cache"
    assert not list(cache.rglob("*.tmp")) and not (cache / "set-aside").exists()
    assert (cache / "locks-v1").stat().st_size == (cache / "leases-v1").stat().st_size == 0
    assert sorted(os.listdir(cache)) == sorted(
        {"CACHEDIR.TAG", "actions-v1", "cas-v1", "leases-v1", "locks-v1", "traces-v2"}
        | ({"history-v1", "tracer-v1"} & set(os.listdir(cache)))
    )


@pytest.mark.slow
def test_eight_builds_and_gc_run_every_action_once(make, tmp_path):
    projects = [make(f"p{n}", seconds=0.1) for n in range(8)]
    summaries = round_of_builds(projects)
    check_round(projects, summaries, tmp_path, ROWS)


@pytest.mark.slow
def test_round_after_round_nothing_runs_twice(new_project, tmp_path):
    """For AOT_TEST_SECONDS (by default one round): new rows each time, beside those of before."""
    until = time.monotonic() + float(os.environ.get("AOT_TEST_SECONDS", "1"))
    projects = [new_project(f"p{n}", files(tmp_path)) for n in range(8)]
    rows = 0
    while not rows or time.monotonic() < until:
        rows += ROWS
        for project in projects:
            project.write(files(tmp_path, rows=rows))
        summaries = round_of_builds(projects, "--max-size", "1GiB", "--max-age", "1d")
        assert sum(summary["executed"] for summary in summaries) == ROWS
        assert ran(tmp_path) == list(range(rows))
        first = projects[0].artifacts()
        assert len(first) > rows and all(p.artifacts() == first for p in projects)


@pytest.mark.slow
def test_gc_that_would_remove_all_takes_nothing_from_running_builds(make, tmp_path):
    """Nothing may stay, all is old, and yet what one of four builds made the others hit."""
    make("before").build()
    (tmp_path / "ran").unlink()
    age(tmp_path / "cache", 40)
    holder = Leases(tmp_path / "cache")
    holder.begin()
    projects = [make(f"p{n}", seconds=0.1) for n in range(4)]
    summaries = round_of_builds(projects, "--max-size", "0")
    holder.close()
    assert sum(summary["executed"] for summary in summaries) <= ROWS
    log = tmp_path / "ran"
    assert len(ran(tmp_path) if log.exists() else []) == len(set(ran(tmp_path)))
    first = projects[0].artifacts()
    assert all(project.artifacts() == first for project in projects)
    assert "removed 12 results" in projects[0].command("gc", "--max-size", "0").stdout
