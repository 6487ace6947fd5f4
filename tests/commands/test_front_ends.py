"""Whose end ends a build: that of a front end which called the hook, and of nobody else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "demo"
version = "1.0"

[tool.setuptools]
py-modules = ["backend"]
"""
BACKEND = """
import json, os, subprocess, sys
from setuptools.build_meta import *
from setuptools import build_meta

ASK = "from aot_build.commands.asked import front_end as f; print(int(bool(f())))"

def note(hook):
    from aot_build.commands.asked import front_end
    child = subprocess.run([sys.executable, "-c", ASK], capture_output=True, check=True)
    with open(os.environ["NOTES"], "a") as notes:
        print(json.dumps([hook, front_end() == os.getppid(), bool(int(child.stdout))]), file=notes)

def build_wheel(*args):
    note("wheel")
    return build_meta.build_wheel(*args)

def build_editable(*args):
    note("editable")
    return build_meta.build_editable(*args)
"""
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
UV = ["uv", "--offline", "--no-config"]
OUT = "out"


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Run a command in a project; what its backend noted: hook, it is a hook, its child is."""
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "backend.py").write_text(BACKEND)
    bins = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))
    notes = tmp_path / "notes"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NOTES": str(notes), "PATH": bins}

    def run(*command: str) -> list[list[object]]:
        subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True)
        return [json.loads(line) for line in notes.read_text().splitlines()]

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "command"),
    [
        ("wheel", [*PIP, "wheel", "--no-build-isolation", "--no-deps", "-w", OUT, "."]),
        ("wheel", [sys.executable, "-m", "build", "--no-isolation", "--wheel", "-o", OUT]),
        ("wheel", [*UV, "build", "--no-build-isolation", "--wheel", "-o", OUT,
                   "--python", sys.executable]),
        ("editable", [*UV, "pip", "install", "--no-build-isolation", "--target", OUT, "-e", ".",
                      "--python", sys.executable]),
    ],
    ids=["pip", "build", "uv-build", "uv-pip"],
)  # fmt: skip
def test_hook_of_a_front_end_ends_with_it(ask, hook, command):
    assert ask(*command) == [[hook, True, False]]


def test_script_that_calls_the_backend_is_no_hook(ask, tmp_path):
    script = tmp_path / "mybuild.py"
    script.write_text("import backend; backend.build_wheel('.')")
    assert ask(sys.executable, str(script)) == [["wheel", False, False]]


def test_script_below_a_hook_is_none(ask, tmp_path, monkeypatch):
    script = tmp_path / "mybuild.py"
    script.write_text("import backend; backend.build_wheel('.')")
    marks = ["_PYPROJECT_HOOKS_BUILD_BACKEND=backend", f"UV_INTERNAL__BUILD_DIR={tmp_path}"]
    assert ask("env", *marks, sys.executable, str(script)) == [["wheel", False, False]]


def test_typed_in_call_is_no_hook(ask):
    call = "import backend; backend.build_wheel('.')"
    assert ask(sys.executable, "-c", call) == [["wheel", False, False]]


def test_hook_whose_front_end_is_gone_works_for_it_still(tmp_path):
    """And so for nobody: a build that watches that process ends at once."""
    program = tmp_path / "_in_process.py"
    program.write_text(
        "import os, time\n"
        "from aot_build.commands.asked import front_end\n"
        "parent = os.getppid()\n"
        "before = front_end() == parent\n"
        "print('asked', flush=True)\n"
        "while os.getppid() == parent: time.sleep(0.01)\n"
        "print(before, front_end() == parent, flush=True)\n"
    )
    starter = (
        "import subprocess, sys\n"
        "hook = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
        "sys.stdin.readline()\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "_PYPROJECT_HOOKS_BUILD_BACKEND": "backend"}
    with subprocess.Popen(
        [sys.executable, "-c", starter, sys.executable, str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=env,
        text=True,
    ) as front_end:
        assert front_end.stdin is not None and front_end.stdout is not None
        assert front_end.stdout.readline() == "asked\n"
        front_end.stdin.close()
        assert front_end.stdout.readline() == "True True\n"
