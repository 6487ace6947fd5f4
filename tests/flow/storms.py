"""A project whose builds are killed, the processes of a build, and what must be left of it."""

import contextlib
import fcntl
import os
import random
import signal
import struct
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from tests.flow.consumers import EPOCH, ROOT
from tests.flow.trees import processes, wait_for

ACTIONS = 100
SLOTS = 2
PYPROJECT = f"""\
[build-system]
requires = ["setuptools", "aot-build"]
build-backend = "setuptools.build_meta"

[project]
name = "storm"
version = "1.0"

[tool.setuptools]
packages = ["storm"]

[tool.aot-build]
package = "storm"
targets = ["cpu"]
jobs = {SLOTS}
retries = 5

[[tool.aot-build.kernels]]
name = "table"
backend = "python"
source = "storm.kern:make"
configs = [{{ n = {list(range(ACTIONS))} }}]
"""
KERN = """\
import ctypes, os, subprocess, time

def make(out_dir, target, n):
    # Noted through C: what a kernel reads or writes by itself is an input of it.
    note(b"s %d\\n" % n)
    helper = subprocess.Popen(["setsid", "sleep", "300"])
    time.sleep(0.1 + n % 5 * 0.05)
    with open(os.path.join(out_dir, f"table{n}.txt"), "w") as stream:
        stream.write(f"{n} cubed is {n ** 3}\\n" * 5000)
    note(b"f %d\\n" % n)

def note(line):
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_char_p
    there = libc.open(libc.getenv(b"AOT_TEST_NOTES"), os.O_WRONLY | os.O_APPEND)
    libc.write(there, line, len(line))
    libc.close(there)
"""
SETUP = "from setuptools import setup\n\nsetup()\n"
KINDS = ("front end", "driver", "forkserver", "worker")


@dataclass
class Storm:
    """One project with a cache, a TMPDIR and notes of its own; `tag` marks all its processes."""

    root: Path
    tag: str
    seed: int = 0
    kills: int = 0
    redone: int = 0
    """Over all rounds but the last: how many kernels were begun again."""
    in_flight: int = 0
    """Over all kills: how many were begun and not published."""
    unpublished: int = 0
    """Those among them that had finished."""
    ended: list[str] = field(default_factory=list)
    """What was killed."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.project, self.cache = self.root / "storm", self.root / "cache"
        self.notes, self.tmp = self.root / "notes", self.root / "tmp"
        files = {"pyproject.toml": PYPROJECT, "setup.py": SETUP, "storm/kern.py": KERN}
        for name, text in {**files, "storm/__init__.py": ""}.items():
            (self.project / name).parent.mkdir(parents=True, exist_ok=True)
            (self.project / name).write_text(text)
        self.tmp.mkdir()
        self.notes.touch()
        # Without byte code the start of each build takes a second.
        left_out = ("AOT_BUILD_", "PYTHONDONTWRITEBYTECODE")
        free = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
        self.env = {
            **free,
            "PYTHONPATH": os.pathsep.join([str(plugged_in(self.root / "plugin")), str(ROOT)]),
            "AOT_BUILD_CACHE_DIR": str(self.cache),
            "AOT_TEST_NOTES": str(self.notes),
            "AOT_TEST_TAG": self.tag,
            "SOURCE_DATE_EPOCH": EPOCH,
            "TMPDIR": str(self.tmp),
        }

    # Front ends

    def pip(self) -> list[str]:
        words = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(self.root)]
        return [sys.executable, *words, "--disable-pip-version-check", str(self.project)]

    def setuptools(self) -> list[str]:
        return [sys.executable, "setup.py", "bdist_wheel", "-d", str(self.root)]

    def alone(self) -> list[str]:
        return [sys.executable, "-m", "aot_build", "build"]

    def start(self, command: list[str]) -> "subprocess.Popen[bytes]":
        with open(self.root / "said", "wb") as said:
            return subprocess.Popen(
                command, cwd=self.project, env=self.env, stdout=said, stderr=said
            )

    def wheel(self) -> bytes:
        """Of a build that nobody disturbs."""
        built = self.start(self.pip())
        assert built.wait(120) == 0, self.said()
        (wheel,) = self.root.glob("*.whl")
        content = wheel.read_bytes()
        wheel.unlink()
        return content

    def said(self) -> str:
        return (self.root / "said").read_text(errors="replace")

    # Kills

    def victims(self, kind: str) -> list[int]:
        """Processes of a kind that live now."""
        found = processes(self.tag)
        drivers = [pid for pid, line in found.items() if "aot_build.driver" in line]
        forks = [pid for pid, line in found.items() if "aot_build.execute.forkserver" in line]
        servers = [pid for pid in forks if parent(pid) in drivers]
        match kind:
            case "driver":
                return drivers
            case "forkserver":
                return servers
            case "worker":
                return [pid for pid in forks if parent(pid) in servers]
        # pip and the process in which it calls the backend, setup.py, or the command line.
        fronts = (f"{name}\0" for name in ("pip", "build_wheel", "setup.py", "aot_build"))
        names = tuple(fronts)
        return [pid for pid, line in found.items() if any(name in line for name in names)]

    def strike(self, kind: str, build: "subprocess.Popen[bytes]") -> bool:
        """Kill one of a kind, some time after there is one; False where the build is over."""
        strikes_at = 0.0
        while build.poll() is None:
            found = self.victims(kind)
            if found and not strikes_at:
                strikes_at = time.monotonic() + self.random.uniform(0.0, 0.5)
            elif found and time.monotonic() >= strikes_at:
                victim = self.random.choice(sorted(found))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    self.kills += 1
                    self.ended.append(kind)
                    return True
            time.sleep(0.02)
        return False

    # What is left

    def begun(self) -> list[str]:
        """The numbers of kernels, once for each time that they were begun."""
        return [line[2:] for line in self.notes.read_text().splitlines() if line[0] == "s"]

    def finished(self) -> set[str]:
        return {line[2:] for line in self.notes.read_text().splitlines() if line[0] == "f"}

    def published(self) -> int:
        return sum(1 for path in self.cache.glob("actions-v1/*/*") if path.name[0] != ".")

    def living(self) -> dict[int, str]:
        return processes(self.tag)

    def check_quiet(self) -> None:
        """Nobody lives, and nothing is locked."""
        assert wait_for(lambda: not processes(self.tag), 5), processes(self.tag)
        for path in (self.cache / "locks-v1", *self.project.glob("build/aot/*.lock")):
            if path.exists():
                check_unlocked(path)

    def check_clean(self) -> None:
        """No temporary file, either, but for those that a killed pip leaves."""
        self.check_quiet()
        assert not list(self.project.glob("build/aot/work-*"))
        for root in (self.cache, self.project):
            assert not [str(p) for p in root.rglob("*") if p.name.endswith(".tmp")]
        left = [p for p in self.tmp.iterdir() if not pips_own(p)]
        assert not left, [str(inside) for p in left for inside in (p, *p.rglob("*"))]


def plugged_in(folder: Path) -> Path:
    """A folder for PYTHONPATH that makes this checkout a distribution with entry points."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    made = folder / "aot_build-0.dist-info"
    made.mkdir(parents=True)
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: aot-build\nVersion: 0\n")
    (made / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def pips_own(folder: Path) -> bool:
    """Whether pip made it: by its name, or by what pyproject_hooks passes to a hook."""
    inside = {path.name for path in folder.iterdir()} if folder.is_dir() else {"a file"}
    return folder.name.startswith("pip-") or inside <= {"input.json", "output.json"}


def parent(pid: int) -> int:
    """The parent of a process, 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def check_unlocked(path: Path) -> None:
    """Raise BlockingIOError where somebody holds a lock of any kind on the file."""
    with open(path, "r+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(stream, getattr(fcntl, "F_OFD_SETLK", 37), whole)
