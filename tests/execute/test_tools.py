"""Real build tools take from the pot, and whatever becomes of them, nothing is missing after."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from aot_build.execute import tools
from aot_build.execute.jobserver import Jobserver, _readable, open_tokens
from aot_build.execute.tools import FOLDER, equipped, makeflags, outer_pot, reachable, too_old

HANG_SECONDS = 60
JOBS = 8
TOKENS = 3
STEP = f"{sys.executable} -IS {{folder}}/step.py"
STEP_CODE = """
import os, pathlib, time
log = os.open(pathlib.Path(__file__).with_name("log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(log, b"+")
time.sleep(0.2)
os.write(log, b"-")
"""

Tool = Callable[[Path], Sequence[str]]


@pytest.fixture
def pot() -> Iterator[Jobserver]:
    """Three tokens, one of them held by the front end: a tool may have two besides its own."""
    front = Jobserver.create()
    driver = open_tokens(front.addresses, TOKENS)
    assert driver is not None
    yield front
    driver.close()
    front.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What ninja and make run eight jobs from, each of which tells of its start and end."""
    (tmp_path / "step.py").write_text(STEP_CODE)
    step = STEP.format(folder=tmp_path)
    edges = "".join(f"build out{n}: step\n" for n in range(JOBS))
    (tmp_path / "build.ninja").write_text(f"rule step\n  command = {step}\n{edges}")
    names = " ".join(f"out{n}" for n in range(JOBS))
    (tmp_path / "Makefile").write_text(f"all: {names}\nout%:\n\t@{step}\n")
    (tmp_path / "outer.mk").write_text("all:\n\t$(MAKE) -f Makefile\n")
    return tmp_path


def environment(pot: Jobserver, folder: Path, path: str | None = None) -> dict[str, str]:
    environ = {**os.environ, "PATH": path or os.environ["PATH"]}
    return equipped(environ, pot.path, folder)


def most_at_once(folder: Path) -> int:
    now = most = 0
    for mark in (folder / "log").read_text():
        now += 1 if mark == "+" else -1
        most = max(most, now)
    return most


def resolved(name: str, env: dict[str, str]) -> str:
    """What a tool's name stands for in an environment: `Popen` looks into its own."""
    found = shutil.which(name, path=env["PATH"])
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def old_ninja() -> str:
    """PATH with nothing but a ninja before 1.13, and what scripts need."""
    if "ninja" not in too_old("/usr/bin:/bin", Path("/none")):
        pytest.skip("needs a ninja before 1.13 in /usr/bin")
    return "/usr/bin:/bin"


KINDS = ["ninja", "old ninja", "make", "recursive make"]


def command(kind: str, pot: Jobserver, folder: Path) -> tuple[list[str], dict[str, str]]:
    name = kind.split()[-1]
    env = environment(pot, folder, old_ninja() if kind == "old ninja" else None)
    words = ["-f", "outer.mk"] if kind == "recursive make" else []
    return [resolved(name, env), *words], env


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_tool_has_its_own_job_and_one_a_token(kind: str, pot: Jobserver, folder: Path) -> None:
    words, env = command(kind, pot, folder)
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "jobserver" not in done.stderr, done.stderr
    assert most_at_once(folder) == TOKENS
    assert _readable(pot.fileno()) == TOKENS - 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("kind", KINDS)
def test_after_a_kill_all_tokens_are_back(
    kind: str, number: int, pot: Jobserver, folder: Path
) -> None:
    words, env = command(kind, pot, folder)
    with subprocess.Popen(
        words, cwd=folder, env=env, stdout=subprocess.DEVNULL, start_new_session=True
    ) as tool:
        wait_until(lambda: (folder / "log").exists() and most_at_once(folder) > 1)
        tool.send_signal(number)
        tool.wait(HANG_SECONDS)
        assert tool.returncode != 0
        with contextlib.suppress(ProcessLookupError):
            os.killpg(tool.pid, signal.SIGKILL)
    pot.refill()
    assert _readable(pot.fileno()) == TOKENS - 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_is_killed_costs_no_token(kind: str, pot: Jobserver, folder: Path) -> None:
    (folder / "step.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    words, env = command(kind, pot, folder)
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True)
    assert done.returncode != 0
    assert _readable(pot.fileno()) == TOKENS - 1


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_old_ninja_that_is_killed_leaves_no_process(pot: Jobserver, folder: Path) -> None:
    words, env = command("old ninja", pot, folder)
    with subprocess.Popen(words, cwd=folder, env=env, stdout=subprocess.DEVNULL) as stand_in:
        wait_until(lambda: (folder / "log").exists())
        (real,) = (
            int(each)
            for each in Path(f"/proc/{stand_in.pid}/task/{stand_in.pid}/children")
            .read_text()
            .split()
        )
        stand_in.kill()
    wait_until(lambda: not Path(f"/proc/{real}").exists())
    assert stand_in.returncode == -signal.SIGKILL


@pytest.mark.parametrize("status", [0, 3])
def test_a_stand_in_ends_as_the_tool_does(status: int, pot: Jobserver, folder: Path) -> None:
    (folder / "step.py").write_text(f"raise SystemExit({status})\n")
    words, env = command("old ninja", pot, folder)
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
    assert bool(done.returncode) == bool(status)
    version = subprocess.run([*words, "--version"], env=env, capture_output=True, text=True)
    assert version.stdout.strip() == subprocess.getoutput("/usr/bin/ninja --version")


def test_stand_ins_pass_on_what_is_none_of_theirs(pot: Jobserver, folder: Path) -> None:
    """Without a pot, or with a number of jobs, the tool is what it was."""
    words, env = command("old ninja", pot, folder)
    subprocess.run([*words, "-j", "5"], cwd=folder, env=env, check=True, capture_output=True)
    assert most_at_once(folder) == 5
    (folder / "log").unlink()
    without = {name: value for name, value in env.items() if name != "MAKEFLAGS"}
    subprocess.run([*words, "-j1"], cwd=folder, env=without, check=True, capture_output=True)
    assert most_at_once(folder) == 1


def test_tools_that_know_the_form_need_no_stand_in(tmp_path: Path, pot: Jobserver) -> None:
    young = tmp_path / "bin"
    young.mkdir()
    for name, says in (("make", "GNU Make 4.4.1"), ("ninja", "1.13.0"), ("gmake", "bmake")):
        (young / name).write_text(f"#!/bin/sh\necho {says}\n")
        (young / name).chmod(0o755)
    env = equipped({"PATH": str(young)}, pot.path, tmp_path)
    assert env["PATH"] == str(young)
    assert not (tmp_path / FOLDER).exists()


def test_what_would_be_read_before_the_pot_is_away(tmp_path: Path, pot: Jobserver) -> None:
    given = {"PATH": "", "MAX_JOBS": "4", "CARGO_MAKEFLAGS": "-j2", "MAKEFLAGS": "-k", "A": "b"}
    env = equipped(given, pot.path, tmp_path)
    assert env == {
        "PATH": "",
        "A": "b",
        "MAKEFLAGS": f" -k -j --jobserver-auth=fifo:{pot.path}",
    }


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("", ""),
        ("-j8", ""),
        ("-j 8 -s", " -s"),
        ("kj3", "k"),
        ("k -j4 --jobserver-auth=3,4", "k"),
        ("--jobs=8 --output-sync", " --output-sync"),
        ("-kj8", " -k"),
        ("CC=gccj8", " CC=gccj8"),
        ("-object", " -object"),
    ],
)
def test_flags_of_the_user_are_kept(given: str, kept: str) -> None:
    assert makeflags("/p", given) == f"{kept} -j --jobserver-auth=fifo:/p"


def test_variables_stay_last() -> None:
    assert makeflags("/p", "s -j2 -- A=b C=d") == "s -j --jobserver-auth=fifo:/p -- A=b C=d"


def test_an_outer_pot_is_found(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pot")
    fifo = f" -j4 --jobserver-auth=fifo:{tmp_path / 'pot'}"
    assert outer_pot({"MAKEFLAGS": fifo}) == str(tmp_path / "pot")
    assert outer_pot({"MAKEFLAGS": fifo + "x"}) == ""
    assert outer_pot({"MAKEFLAGS": " -j4"}) == ""


def test_descriptors_are_a_pot_only_as_ends_of_one_pipe() -> None:
    ends, other = os.pipe(), os.pipe()
    found = outer_pot({"MAKEFLAGS": f"-j --jobserver-auth={ends[0]},{ends[1]}"})
    assert os.path.samestat(os.stat(found), os.fstat(ends[0]))
    assert outer_pot({"MAKEFLAGS": f"-j --jobserver-fds={ends[0]},{other[1]}"}) == ""
    assert outer_pot({"MAKEFLAGS": "-j --jobserver-auth=-2,-2"}) == ""
    for descriptor in (*ends, *other):
        os.close(descriptor)
    assert outer_pot({"MAKEFLAGS": f"-j --jobserver-auth={ends[0]},{ends[1]}"}) == ""


def test_a_pot_is_reachable_while_its_process_has_it() -> None:
    """In a process of its own: another thread of this one may open what takes its number."""
    code = (
        "from aot_build.execute.jobserver import Jobserver;"
        "pot = Jobserver.create(); print(pot.path, flush=True); input()"
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdin is not None and owner.stdout is not None
        path = owner.stdout.readline().strip()
        assert reachable(path)
        owner.communicate("\n")
    assert not reachable(path)
    assert tools.for_workers({"A": "b"}, path, "/none") == {"A": "b"}


@pytest.mark.slow
@pytest.mark.nvcc
def test_threads_of_nvcc_take_tokens(pot: Jobserver, tmp_path: Path) -> None:
    (tmp_path / "k.cu").write_text("__global__ void k(float *x) { x[0] = 1; }\n")
    codes = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in (80, 86, 89, 90)]
    words = ["nvcc", "-c", "k.cu", "-o", "k.o", "--threads", "4", "--jobserver", *codes]
    least = TOKENS
    with subprocess.Popen(words, cwd=tmp_path, env=environment(pot, tmp_path)) as nvcc:
        while nvcc.poll() is None:
            least = min(least, _readable(pot.fileno()))
    assert nvcc.returncode == 0
    assert least == 0
    assert _readable(pot.fileno()) == TOKENS - 1


@pytest.mark.slow
def test_cargo_takes_tokens(pot: Jobserver, tmp_path: Path) -> None:
    """A build script is told of the very pot: that is how crates that compile C share it."""
    if shutil.which("cargo") is None:
        pytest.skip("needs cargo")
    (tmp_path / "src").mkdir()
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "demo"\nversion = "1.0.0"\n')
    (tmp_path / "src" / "lib.rs").write_text("pub fn one() -> u32 { 1 }\n")
    (tmp_path / "build.rs").write_text(
        'fn main() { println!("cargo:warning={}", std::env::var("CARGO_MAKEFLAGS").unwrap()); }\n'
    )
    env = environment(pot, tmp_path)
    words = ["cargo", "build", "--offline"]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert pot.path in done.stderr
    assert _readable(pot.fileno()) == TOKENS - 1
