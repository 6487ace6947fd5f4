"""One pot of CPU tokens for a whole `setup.py build`: kernels, build_ext, and what they start."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.flow.consumers import ROOT

pytestmark = pytest.mark.slow

HANG_SECONDS = 120
RACY_BUILDS = 5
PYPROJECT = """\
[project]
name = "demo"
version = "1.0"

[tool.setuptools]
packages = ["demo"]

[tool.aot-build]
package = "demo"
targets = ["cpu"]

[[tool.aot-build.kernels]]
name = "table"
backend = "python"
source = "demo.generate:make"
configs = [{ n = [1, 2, 3, 4, 5, 6] }]
"""
STEP = """\
import os, sys, time

def work(kind):
    log = os.open("@LOG@", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"+{kind}\\n".encode())
    time.sleep(0.3)
    os.write(log, f"-{kind}\\n".encode())
    os.close(log)

if __name__ == "__main__":
    work(sys.argv[1])
"""
GENERATE = """\
from pathlib import Path
from demo.step import work

def make(out_dir, target, n):
    work("kernel")
    Path(out_dir, "table.txt").write_text("x" * n)
"""
GENERATE_BY_NINJA = """\
import subprocess
from pathlib import Path

def make(out_dir, target, n):
    subprocess.run(["ninja", "-C", out_dir, "-f", "@PROJECT@/build.ninja"], check=True)
"""
SETUP = """\
import json, os, subprocess, sys, time
from pathlib import Path
from setuptools import Command, Distribution, Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from aot_build.commands import hook
sys.path.insert(0, os.getcwd())
from demo.step import work

SEEN = ("MAKEFLAGS", "MAX_JOBS", "PATH", "NVCC_APPEND_FLAGS", "OMP_NUM_THREADS")

def note(when):
    seen = {name: os.environ.get(name) for name in SEEN}
    Path(f"{when}.json").write_text(json.dumps(seen))

def running(kind="tool"):
    text = Path("@LOG@").read_text() if Path("@LOG@").exists() else ""
    return text.count(f"+{kind}") - text.count(f"-{kind}")

class Plugged(Distribution):
    def finalize_options(self):
        super().finalize_options()
        hook.finalize(self)

class Ninja(build_ext):
    def build_extensions(self):
        note("inside")
        if os.environ.get("TEST_THREADS"):
            super().build_extensions()
        elif not os.environ.get("TEST_KILL"):
            subprocess.run(["ninja"], check=True)
        if os.environ.get("TEST_KILL") == "ninja":
            self.kill_ninja()
        if os.environ.get("TEST_KILL") == "driver":
            self.kill_driver()

    def kill_ninja(self):
        tool = subprocess.Popen(["ninja", "-f", "endless.ninja"])
        while running() < 2:
            time.sleep(0.01)
        tool.kill()
        tool.wait()
        while running():
            time.sleep(0.01)

    def kill_driver(self):
        while running("kernel") < 2:
            time.sleep(0.01)
        (driver,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        os.kill(int(driver), 9)

    def build_extension(self, ext):
        work("tool")

class More(Command):
    user_options = []
    def initialize_options(self): pass
    def finalize_options(self): pass
    def run(self):
        with open("@LOG@", "a") as log:
            log.write(" more\\n")
        subprocess.run(["ninja"], check=True)

class Build(build):
    sub_commands = [*build.sub_commands, ("more", None)] if os.environ.get("TEST_KILL") \\
        else build.sub_commands

extensions = [Extension(f"demo.native{n}", []) for n in range(6)]
if os.environ.get("TEST_PURE"):
    extensions = []
note("before")
setup(
    distclass=Plugged,
    ext_modules=extensions,
    cmdclass={"build_ext": Ninja, "build": Build, "more": More},
)
note("after")
"""


class Demo:
    """A project whose extensions are eight steps of ninja, and whose kernels are six more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "log"
        free = {k: v for k, v in os.environ.items() if not k.startswith(("AOT_BUILD_", "MAKE"))}
        free.pop("MAX_JOBS", None)
        self.env = {
            **free,
            "PYTHONPATH": str(ROOT),
            "AOT_BUILD_CACHE_DIR": str(path / "cache"),
        }
        step = f"{sys.executable} -IS {path}/demo/step.py tool"
        self.write("pyproject.toml", PYPROJECT)
        self.write("setup.py", SETUP)
        self.write("demo/__init__.py", "")
        self.write("demo/step.py", STEP)
        self.write("demo/generate.py", GENERATE)
        for name, count in (("build", 8), ("endless", 400)):
            edges = "".join(f"build out{n}: step\n" for n in range(count))
            self.write(f"{name}.ninja", f"rule step\n  command = {step}\n{edges}")

    def write(self, name: str, text: str) -> None:
        file = self.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text.replace("@LOG@", str(self.log)).replace("@PROJECT@", str(self.path)))

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.path,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
        )

    def build(self, *words: str, **env: str) -> None:
        done = self.run("setup.py", "-q", *(words or ("build",)), **env)
        assert done.returncode == 0, done.stdout + done.stderr

    def seen(self, when: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.path / f"{when}.json").read_text())
        return found

    def most_at_once(self, text: str | None = None) -> int:
        now = most = 0
        for mark in re.findall(r"^[+-]", text or self.log.read_text(), re.M):
            # What had started before this text ends in it.
            now = max(0, now + (1 if mark == "+" else -1))
            most = max(most, now)
        return most


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return Demo(tmp_path)


@pytest.mark.parametrize("jobs", ["1", "2", "3"])
def test_kernels_and_extensions_together_run_as_many_as_there_are_tokens(
    demo: Demo, jobs: str
) -> None:
    demo.build(MAX_JOBS=jobs)
    assert demo.most_at_once() == int(jobs)
    text = demo.log.read_text()
    assert (text.count("-tool"), text.count("-kernel")) == (8, 6)


def test_kernels_run_beside_extensions_that_need_one_job_at_a_time(demo: Demo) -> None:
    demo.build(TEST_THREADS="1", AOT_BUILD_JOBS="2")
    assert demo.most_at_once() == 2
    text = demo.log.read_text()
    assert text.index("+kernel") < text.rindex("-tool")


def test_the_environment_is_lent_and_given_back(demo: Demo) -> None:
    demo.build(MAX_JOBS="2", MAKEFLAGS="-k -j9")
    before, inside = demo.seen("before"), demo.seen("inside")
    assert demo.seen("after") == before
    assert before["MAX_JOBS"] == "2"
    assert inside["MAX_JOBS"] is None
    assert re.fullmatch(r" -k -j --jobserver-auth=fifo:\S+", inside["MAKEFLAGS"])


def test_the_environment_is_given_back_where_a_command_fails(demo: Demo) -> None:
    demo.write(
        "setup.py",
        SETUP.replace('note("inside")', "raise ValueError").replace(
            "setup(\n", "import atexit; atexit.register(note, 'after')\nsetup(\n"
        ),
    )
    assert demo.run("setup.py", "build", MAX_JOBS="2").returncode != 0
    assert demo.seen("after") == demo.seen("before")


def test_without_extensions_there_is_nothing_to_share(demo: Demo) -> None:
    demo.write(
        "setup.py",
        SETUP.replace(
            "class Build(build):",
            """class Build(build):
    def run_command(self, name):
        super().run_command(name)
        note("inside" if name == "build_py" else "other")
""",
        ),
    )
    demo.build(TEST_PURE="1", MAX_JOBS="2")
    assert demo.seen("inside") == demo.seen("before")


def test_where_nothing_is_to_be_done_build_ext_is_left_alone(demo: Demo) -> None:
    """Without a driver nobody would fill a pot."""
    demo.build(MAX_JOBS="2")
    # A snapshot vouches for nothing younger than two seconds.
    time.sleep(2.1)
    demo.build(MAX_JOBS="2")

    def left_alone() -> bool:
        time.sleep(1)
        demo.build(MAX_JOBS="2")
        return demo.seen("inside") == demo.seen("before")

    assert any(left_alone() for _ in range(RACY_BUILDS)), "no snapshot vouched for the result"


def test_threads_of_build_ext_take_tokens(demo: Demo) -> None:
    demo.build("build_ext", "--parallel", "4", TEST_THREADS="1", AOT_BUILD_JOBS="2")
    assert demo.most_at_once() == 2
    assert demo.log.read_text().count("-tool") == 6


def test_tokens_of_a_killed_ninja_are_there_for_the_next_command(demo: Demo) -> None:
    demo.write("pyproject.toml", PYPROJECT.replace("[1, 2, 3, 4, 5, 6]", "1"))
    demo.build(TEST_KILL="ninja", AOT_BUILD_JOBS="3")
    assert demo.most_at_once(demo.log.read_text().rpartition(" more")[2]) == 3


def test_a_killed_driver_leaves_its_tokens_to_build_ext(demo: Demo) -> None:
    done = demo.run("setup.py", "build", TEST_KILL="driver", AOT_BUILD_JOBS="3")
    assert "the build driver ended without an answer" in done.stderr
    assert demo.most_at_once(demo.log.read_text().rpartition(" more")[2]) == 3


@pytest.mark.parametrize("command", ["build", "cli"])
def test_tools_of_a_worker_take_tokens(demo: Demo, command: str) -> None:
    demo.write("demo/generate.py", GENERATE_BY_NINJA)
    if command == "cli":
        words = ("-m", "aot_build", "build", "--project", str(demo.path))
        done = demo.run(*words, AOT_BUILD_JOBS="3")
        assert done.returncode == 0, done.stderr
    else:
        demo.build(AOT_BUILD_JOBS="3")
    assert demo.most_at_once() == 3


def test_below_another_jobserver_its_tokens_are_taken(demo: Demo) -> None:
    os.mkfifo(demo.path / "outer")
    outer = os.open(demo.path / "outer", os.O_RDWR | os.O_NONBLOCK)
    os.write(outer, b"t")
    flags = f" -j2 --jobserver-auth=fifo:{demo.path / 'outer'}"
    demo.build(MAKEFLAGS=flags, AOT_BUILD_JOBS="8")
    assert demo.seen("inside")["MAKEFLAGS"] == flags
    # Each of the two, ninja and the driver, has a job that needs no token.
    assert demo.most_at_once() <= 3
    assert os.read(outer, 9) == b"t"
    os.close(outer)
