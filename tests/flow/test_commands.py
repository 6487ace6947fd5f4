"""The commands besides `build`: what they take, what they say, and that it is true."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.compiler

TARGETS = ["cpu", "cpu:x86-64-v3"]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["verify", "--sample", "0"], "'0' is not a whole number from 1"),
        (["verify", "--sample", "-3"], "'-3' is not a whole number from 1"),
        (["build", "--jobs", "0"], "'0' is not a whole number from 1"),
        (["build", "-j", "two"], "'two' is not a whole number from 1"),
    ],
)
def test_nothing_at_once_is_wrong_usage(project, words, wrong):
    ended = project.command(*words)
    assert ended.returncode == 2
    assert wrong in ended.stderr and "Traceback" not in ended.stderr
    assert not (project.path / "build").exists()


def test_plan_takes_settings_as_build_does(project):
    project.build("-C", "mode=debug")
    assert "7 hits, 0 to build" in project.command("plan", "-C", "mode=debug").stdout
    assert "7 hits" in project.command("plan", "-C", "aot.mode=debug").stdout
    assert "0 hits, 7 to build" in project.command("plan").stdout
    ended = project.command("plan", "-C", "mod=debug")
    assert ended.returncode == 2 and "did you mean" in ended.stderr


def test_passes_of_every_target_that_is_named(project):
    both = [word for target in TARGETS for word in ("-t", target)]
    ended = project.command("passes", "-m", "release", *both)
    assert [line for line in ended.stdout.splitlines() if not line.startswith(" ")] == [
        f"release for {target}:" for target in TARGETS
    ]
    assert "x86-64-v3" in ended.stdout.partition(f"release for {TARGETS[1]}:")[2]
    listed = json.loads(project.command("passes", "--json", *both).stdout)
    assert "release" in listed and all(list(found) == TARGETS for found in listed.values())
    assert project.command("passes", "-t", "cpv").returncode == 2


def test_explain_and_verify_of_one_target_and_mode(project):
    project.build("-t", "cpu", "-m", "debug")
    asked = ["-t", "cpu", "-m", "debug", "--json"]
    rows = json.loads(project.command("explain", *asked).stdout)
    assert {row["target"] for row in rows} == {"cpu"} and len(rows) == 5
    assert all(row["decision"] == "hit" for row in rows)
    plain = json.loads(project.command("explain", "--json").stdout)
    assert all(row["decision"] == "miss" for row in plain)
    ended = project.command("verify", "--all", *asked)
    assert ended.returncode == 0
    assert [row["verdict"] for row in json.loads(ended.stdout)] == ["same"] * 5


def test_clean_removes_the_result_and_says_so(project):
    project.build()
    folder = project.path / "build" / "aot"
    ended = project.command("clean", "--json")
    assert json.loads(ended.stdout) == {"removed": str(folder)} and not folder.exists()
    assert json.loads(project.command("clean", "--json").stdout) == {"removed": None}


UNREMOVABLE = """
import os, sys
def refuse(path, *args, **kwargs):
    raise PermissionError(13, "Permission denied", str(path))
os.rmdir = refuse
from aot_build.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_clean_does_not_claim_what_it_could_not_do(project):
    """No mode bits keep root from removing: the call itself is made to fail."""
    folder = project.path / "build" / "aot"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").write_text("x")
    ended = subprocess.run(
        [sys.executable, "-c", UNREMOVABLE, "clean", "--project", str(project.path)],
        env=project.env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 2 and "removed " not in ended.stdout
    assert "not everything could be removed" in ended.stderr
    assert "Permission denied" in ended.stderr
    assert not (folder / "deep" / "file").exists(), "what can go has gone"


@pytest.mark.parametrize("text", [None, "[project]\nname = 'demo'\n"])
def test_stats_of_a_project_that_declares_nothing(project, text):
    (project.path / "pyproject.toml").unlink()
    if text is not None:
        (project.path / "pyproject.toml").write_text(text)
    ended = project.command("stats")
    assert ended.returncode == 2 and "nothing is declared" in ended.stderr


def test_stats_while_files_come_and_go(project, monkeypatch, tmp_path):
    from aot_build.stats import stats

    project.build()
    monkeypatch.setenv("AOT_BUILD_CACHE_DIR", project.env["AOT_BUILD_CACHE_DIR"])
    before = stats(project.path)
    walked = os.walk

    def walk(folder):
        """A temporary file was listed, and renamed before it was looked at."""
        for root, folders, names in walked(folder):
            yield root, folders, [*names, ".gone.tmp"]

    monkeypatch.setattr(os, "walk", walk)
    assert stats(project.path) == before
    assert before.results == 7 and before.blobs >= 5


def test_rows_from_code_that_hold_no_values_are_refused(project):
    project.edit(
        "pyproject.toml", "configs = [{ n = [1, 2, 3] }]", 'configs = ["demo.listing:rows"]'
    )
    project.write(
        {"demo/listing.py": "def rows(targets):\n    yield {'n': 1}\n    yield {'n': 1e999}\n"}
    )
    ended = project.command("build")
    assert ended.returncode == 1
    assert "a row cannot hold a float (inf)" in ended.stderr
    assert "demo.listing:rows row 2" in ended.stderr and "column: n" in ended.stderr


def test_a_row_that_code_calls_broken_fails_alone(project):
    project.edit(
        "pyproject.toml", "configs = [{ n = [1, 2, 3] }]", 'configs = ["demo.listing:rows"]'
    )
    project.write({
        "demo/listing.py": "import warnings\n"
        "def rows(targets):\n"
        "    yield {'n': 1}\n"
        "    yield ValueError('tuned.csv:3: no number: four')\n"
        "    warnings.warn('left out 7 rows of others')\n"
        "    yield {'n': 2}\n"
        "    yield {'n': 3, 'target': 'hip:gfx'}\n"
    })  # fmt: skip
    ended = project.command("build", "--json")
    assert ended.returncode == 1
    summary = json.loads(ended.stdout)
    broken, unknown = summary["failures"]
    assert summary["failed"] == 2 and broken["reason"].startswith("tuned.csv:3")
    assert "unknown target 'hip:gfx'" in unknown["reason"] and unknown["variant"].endswith("row 4")
    assert summary["executed"] == summary["actions"] - 2
    assert "left out 7 rows of others" in ended.stderr
    again = project.command("build", "--json")
    assert again.returncode == 1 and json.loads(again.stdout)["executed"] == 0
    assert "tuned.csv:3" in again.stderr and "left out 7 rows of others" in again.stderr


def test_a_link_that_outputs_does_not_name_costs_nothing(project):
    project.edit("pyproject.toml", 'targets = ["cpu"]', 'targets = ["cpu"]\noutputs = ["*.txt"]')
    project.edit(
        "demo/generate.py", ".write_text('x' * n)",
        ".write_text('x' * n)\n    Path(out_dir, 'newest').symlink_to('table.txt')",
    )  # fmt: skip
    assert project.build()["failed"] == 0
