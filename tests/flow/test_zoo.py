"""Bad kernels and good ones in one build: each ends as it should, and hurts nobody else."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flow.conftest import Project
from tests.flow.consumers import ROOT
from tests.flow.trees import processes, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs proc(5) and process groups"),
]

GOOD = 20
ENDS = {
    "abort": "crashed",
    "segfault": "crashed",
    "exit_0": "nothing",
    "exit_3": "crashed",
    "kill_group": "crashed",
    "overflow_c_stack": "error crashed",
    "leave_nothing": "nothing",
    "system_exit": "error",
    "interrupt": "error",
    "overflow": "error",
    "unpicklable": "error",
    "unprintable": "error",
    "grandchild": "ok",
    "grandchild_on_a_pipe": "ok",
    "daemon": "ok",
    "fork_bomb": "ok",
    "lingering_thread": "ok",
    "hanging_atexit": "ok",
    "close_all": "nothing",
    "change_environment": "ok",
    "change_folder": "ok",
    "change_limits": "ok",
    "spoil_streams": "ok",
    "delete_scratch": "ok",
    "delete_out_dir": "nothing",
    "link_to_passwd": "error",
    "hard_name": "error",
    "two_dots": "ok",
    "outside": "ok",
    "device": "error",
    "many_files": "ok",
    "print_much": "ok",
    "print_much_and_die": "crashed",
    "allocate_under_limit": "memory",
}
"""What comes of each, in one word; where two are given, either: interpreters differ."""
HANGS = {"loop": "timeout", "stop_itself": "timeout", "ignore_signals": "timeout"}
STARVED = {"allocate": "memory", "compiler_is_starved": "memory"}
KERNEL = """
[[tool.aot-build.kernels]]
name = "{name}"
backend = "python"
source = "zoo.kern:{function}"
configs = [{{ {column} = {values} }}]
{more}
"""
FRONT_END = """
import sys
from aot_build.events import encode
from aot_build.frontend import start
start(sys.argv[1], jobs=int(sys.argv[2]), emit=lambda e: print(encode(e), flush=True)).wait(
    check=False)
"""
"""A front end that says all that it hears."""


@dataclass
class Zoo:
    """A project of good and bad kernels, and what a build of it came to."""

    project: Project
    tag: str

    def declare(self, *kernels: str, package: str = "zoo") -> None:
        head = f'[tool.aot-build]\npackage = "{package}"\ntargets = ["cpu"]\nkeep-going = true\n'
        good = kernel("good", "good", "n", list(range(GOOD)))
        source = Path(__file__).with_name("zoo").joinpath("kern.py").read_text()
        files = {"zoo/__init__.py": "", "zoo/kern.py": source}
        self.project.write({**files, "pyproject.toml": head + "".join((good, *kernels))})

    def build(self, jobs: int = 4, **more: Any) -> list[dict[str, Any]]:
        """The events of a build, and nothing of it left."""
        done = subprocess.run(
            [sys.executable, "-c", FRONT_END, str(self.project.path), str(jobs)],
            env=self.project.env,
            capture_output=True,
            text=True,
            timeout=150,
            **more,
        )
        assert done.returncode == 0, done.stderr
        self.check_left()
        return [json.loads(line) for line in done.stdout.splitlines()]

    def check_left(self) -> None:
        assert wait_for(lambda: not processes(self.tag), 5), processes(self.tag)
        folder = self.project.path / "build" / "aot"
        assert not list(folder.glob("work-*"))
        assert not list(self.project.path.parent.rglob("*.tmp"))
        assert not list(Path(self.project.env["TMPDIR"]).iterdir())

    def check_good(self) -> None:
        found = [b for n, b in zoo_artifacts(self.project).items() if n.endswith("table.txt")]
        wanted = [f"{n} squared is {n * n}\n".encode() * 1000 for n in range(GOOD)]
        assert sorted(found) == sorted(wanted)


def kernel(name: str, function: str, column: str, values: list[Any], **more: Any) -> str:
    """Its table in pyproject.toml."""
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in more.items())
    return KERNEL.format(
        name=name, function=function, column=column, values=json.dumps(values), more=lines
    )


def zoo_artifacts(project: Project) -> dict[str, bytes]:
    """Of a build that failed, too: what is in the cache by the names of a build that does not."""
    result = project.path / "build" / "aot" / "zoo" / "_aot"
    found = (p for p in sorted(result.rglob("*")) if p.is_file())
    return {p.relative_to(result).as_posix(): p.read_bytes() for p in found}


def ends(events: list[dict[str, Any]], name: str) -> dict[str, str]:
    """Variant -> outcome, of one kernel."""
    kinds = {"ActionFinished": "ok", "ActionFailed": ""}
    found = [e for e in events if e["event"] in kinds and e["kernel"] == name]
    assert len({e["variant"] for e in found}) == len(found)
    return {e["variant"].partition("=")[2]: kinds[e["event"]] or e["outcome"] for e in found}


def retries(events: list[dict[str, Any]]) -> Counter[str]:
    """Variant -> how often it was tried again."""
    return Counter(e["variant"].partition("=")[2] for e in events if e["event"] == "ActionRetried")


def check_ends(found: dict[str, str], wanted: dict[str, str]) -> None:
    assert found.keys() == wanted.keys()
    assert {n: e for n, e in found.items() if e not in wanted[n].split()} == {}


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[Zoo]:
    tag = secrets.token_hex(8)
    free = {k: v for k, v in os.environ.items() if not k.startswith("AOT_BUILD_")}
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    env = {
        **free,
        "PYTHONPATH": str(ROOT),
        "AOT_BUILD_CACHE_DIR": str(tmp_path / "cache"),
        "AOT_TEST_TAG": tag,
        "TMPDIR": str(tmp),
    }
    yield Zoo(Project(tmp_path / "zoo", env), tag)
    for pid in processes(tag):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_each_ends_as_it_should(zoo: Zoo) -> None:
    zoo.declare(
        kernel("bad", "bad", "what", list(ENDS), retries=1),
        kernel("hang", "bad", "what", list(HANGS), retries=1, timeout=2),
    )
    events = zoo.build()
    assert ends(events, "good") == {str(n): "ok" for n in range(GOOD)}
    check_ends(ends(events, "bad"), ENDS)
    check_ends(ends(events, "hang"), HANGS)
    got = ends(events, "bad") | ends(events, "hang")
    abnormal = {name for name, end in got.items() if end not in ("ok", "error")}
    assert retries(events) == Counter(dict.fromkeys(abnormal, 1))
    failed = {e["variant"].partition("=")[2]: e for e in events if e["event"] == "ActionFailed"}
    _check_reasons(failed)
    logs = zoo.project.path / "build" / "aot" / "logs"
    assert sum(path.stat().st_size for path in logs.iterdir()) < 4 << 20
    _check_summary(events[-1]["summary"], failed)


def _check_reasons(failed: dict[str, dict[str, Any]]) -> None:
    reasons = {
        "abort": "ended by SIGABRT",
        "segfault": "ended by SIGSEGV",
        "exit_0": "exited without an answer",
        "exit_3": "exited with status 3 without an answer",
        "kill_group": "ended by SIGKILL",
        "leave_nothing": "it left no file in its output folder",
        "system_exit": "SystemExit: enough",
        "interrupt": "KeyboardInterrupt",
        "unpicklable": "zoo.kern.Unpicklable: cannot be pickled",
        "unprintable": "zoo.kern.Unprintable: <its message cannot be shown>",
        "link_to_passwd": "its output 'passwd' is a link or a special file: only files can ship",
        "hard_name": "the output name 'a\\nb' cannot ship",
        "device": "its output 'pipe' is a link or a special file: only files can ship",
        "loop": "no answer after 2 s",
        "stop_itself": "no answer after 2 s",
        "allocate_under_limit": "MemoryError",
    }
    assert {n: failed[n]["reason"].split(";")[0].splitlines()[0] for n in reasons} == reasons
    assert failed["delete_out_dir"]["reason"].startswith("its output folder is gone")
    assert failed["overflow"]["reason"].startswith("RecursionError")


def _check_summary(summary: dict[str, Any], failed: dict[str, dict[str, Any]]) -> None:
    assert summary["actions"] == GOOD + len(ENDS) + len(HANGS)
    assert summary["failed"] == len(failed)
    named = [row["variant"].partition("=")[2] for row in summary["failures"]]
    assert sorted(named) == sorted(failed)


def test_what_good_ones_leave_is_right_and_kept(zoo: Zoo) -> None:
    worst = [n for n, end in ENDS.items() if end != "ok"]
    zoo.declare(kernel("bad", "bad", "what", worst, retries=0))
    assert ends(zoo.build(), "good") == {str(n): "ok" for n in range(GOOD)}
    harmless = [n for n, end in ENDS.items() if end == "ok"]
    zoo.declare(kernel("bad", "bad", "what", harmless, retries=0))
    done = zoo.project.command("build", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["hits"], summary["executed"]) == (GOOD, len(harmless))
    zoo.check_good()
    names = [name.rpartition("/")[2] for name in zoo_artifacts(zoo.project)]
    assert "a..b" in names and not [n for n in names if n.startswith(("outside", "passwd"))]
    assert len(names) > 10_000
    zoo.check_left()


def test_without_keep_going_it_says_so_with_status_1(zoo: Zoo) -> None:
    zoo.declare(kernel("bad", "bad", "what", ["abort", "link_to_passwd"], retries=0))
    text = (zoo.project.path / "pyproject.toml").read_text()
    (zoo.project.path / "pyproject.toml").write_text(text.replace("keep-going = true", ""))
    done = zoo.project.command("build", "--json", "-j", "2")
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["failed"] >= 1
    zoo.check_left()


def test_who_kills_the_forkserver_loses_itself(zoo: Zoo) -> None:
    """It waits until the others are done: what runs beside it is lost with it."""
    code = (
        "\ndef kill_parent(out_dir):\n"
        "    done = Path(os.environ['AOT_TEST_DONE'])\n"
        "    while len(list(done.iterdir())) < 20:\n"
        "        time.sleep(0.05)\n"
        "    time.sleep(1)\n"
        "    os.kill(os.getppid(), signal.SIGKILL)\n"
        "    time.sleep(600)\n"
        "\ndef noted(out_dir, target, n):\n"
        "    good(out_dir, target, n)\n"
        "    Path(os.environ['AOT_TEST_DONE'], str(n)).touch()\n"
    )
    zoo.declare(kernel("bad", "bad", "what", ["kill_parent"], retries=1))
    pyproject = zoo.project.path / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace(":good", ":noted"))
    with open(zoo.project.path / "zoo" / "kern.py", "a") as stream:
        stream.write(code)
    done = zoo.project.path.parent / "done"
    done.mkdir()
    zoo.project.env["AOT_TEST_DONE"] = str(done)
    events = zoo.build(jobs=2)
    assert ends(events, "good") == {str(n): "ok" for n in range(GOOD)}
    check_ends(ends(events, "bad"), {"kill_parent": "lost"})
    assert retries(events)["kill_parent"] == 1


@pytest.fixture
def memory_cgroup() -> Iterator[Path]:
    """A cgroup of 1.5 GiB below this process's own (v1)."""
    from aot_build.execute.limits import cgroup_folders

    folders = cgroup_folders("memory")
    if not folders or not (folders[0] / "memory.limit_in_bytes").exists():
        pytest.skip("needs a memory controller of cgroup v1")
    made = folders[0] / f"zoo-{os.getpid()}"
    try:
        made.mkdir()
        (made / "memory.limit_in_bytes").write_text(str(3 << 29))
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    yield made
    assert wait_for(lambda: _removed(made), 5)


def _removed(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def test_ten_gigabytes_in_a_cgroup(zoo: Zoo, memory_cgroup: Path) -> None:
    zoo.declare(kernel("starved", "bad", "what", list(STARVED), retries=1))
    inside = memory_cgroup / "cgroup.procs"
    events = zoo.build(jobs=2, preexec_fn=lambda: inside.write_text(str(os.getpid())))
    assert ends(events, "good") == {str(n): "ok" for n in range(GOOD)}
    check_ends(ends(events, "starved"), STARVED)
    assert retries(events) == Counter(dict.fromkeys(STARVED, 1))


@pytest.mark.compiler
def test_a_compiler_that_the_kernel_kills(zoo: Zoo, memory_cgroup: Path) -> None:
    """g++ survives, and says with status 1 that the program that it called was killed."""
    table = kernel("hungry", "", "n", [1], retries=1)
    zoo.declare(table.replace("python", "cpp").replace("zoo.kern:", "zoo/hungry.cpp"))
    tens = "".join(f"#define A{n} {','.join([f'A{n - 1}'] * 10)}\n" for n in range(1, 9))
    zoo.project.write({"zoo/hungry.cpp": f"#define A0 1\n{tens}int a[] = {{A8}};\n"})
    inside = memory_cgroup / "cgroup.procs"
    events = zoo.build(jobs=2, preexec_fn=lambda: inside.write_text(str(os.getpid())))
    assert ends(events, "good") == {str(n): "ok" for n in range(GOOD)}
    check_ends(ends(events, "hungry"), {"1": "memory"})
    assert retries(events) == Counter({"1": 1})
    (reason,) = (e["reason"] for e in events if e["event"] == "ActionFailed")
    assert "g++ " in reason and "cc1plus" in reason


def test_who_kills_the_forkserver_at_once(zoo: Zoo) -> None:
    zoo.declare(kernel("bad", "bad", "what", ["kill_parent"], retries=2))
    with open(zoo.project.path / "zoo" / "kern.py", "a") as stream:
        stream.write(
            "\ndef kill_parent(out_dir):\n"
            "    os.kill(os.getppid(), signal.SIGKILL)\n"
            "    time.sleep(600)\n"
        )
    events = zoo.build()
    assert ends(events, "good") == {str(n): "ok" for n in range(GOOD)}
    check_ends(ends(events, "bad"), {"kill_parent": "lost"})
