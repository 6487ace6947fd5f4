"""A kernel that prints, and a real terminal: a pseudo-terminal, and who reads what is shown."""

import contextlib
import fcntl
import os
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = """\
[tool.aot-build]
package = "demo"
targets = ["cpu"]
retries = 0

[[tool.aot-build.kernels]]
name = "table"
backend = "python"
source = "demo.generate:make"
configs = [{ n = [1, 2, 3] }]
"""
LOUD = """\
import ctypes, os, subprocess, sys, time
from pathlib import Path

def make(out_dir, target, n):
    print("noise of Python")
    print("noise of Python", file=sys.stderr)
    os.write(1, b"noise of a descriptor")
    os.write(2, b"noise of a descriptor")
    ctypes.CDLL(None).puts(b"noise of C")
    subprocess.run(["sh", "-c", "echo noise of a child; echo noise of a child >&2"])
    project = Path(out_dir).parents[3]
    while project.joinpath(f"hold-{n}").exists():
        time.sleep(0.02)
    if project.joinpath(f"fail-{n}").exists():
        raise ValueError("no \\u2018table\\u2019 \\x1b[2J for you")
    Path(out_dir, "table.txt").write_text("x" * n)
"""


@dataclass
class Project:
    """Three variants of a kernel that writes to whatever it finds. `hold(n)` makes variant n wait,
    `fail(n)` makes it fail."""

    path: Path
    env: dict[str, str]

    def hold(self, n: int) -> Path:
        (self.path / f"hold-{n}").touch()
        return self.path / f"hold-{n}"

    def fail(self, n: int) -> None:
        (self.path / f"fail-{n}").touch()

    def words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "aot_build", *words, "--project", str(self.path)]

    def run(
        self, *words: str, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE, **env: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run `aot-build`."""
        return subprocess.run(
            self.words(*words),
            env={**self.env, **env},
            cwd=self.path,
            stdout=stdout,
            stderr=stderr,
            text=True,
            timeout=120,
        )


@pytest.fixture
def loud(tmp_path: Path) -> Project:
    """That project, with a cache of its own."""
    path = tmp_path / "loud"
    (path / "demo").mkdir(parents=True)
    (path / "pyproject.toml").write_text(PYPROJECT)
    (path / "demo" / "__init__.py").touch()
    (path / "demo" / "generate.py").write_text(LOUD)
    free = {k: v for k, v in os.environ.items() if not k.startswith(("AOT_BUILD_", "NO_COLOR"))}
    env = {**free, "PYTHONPATH": str(ROOT), "AOT_BUILD_CACHE_DIR": str(tmp_path / "cache")}
    return Project(path, env)


class Terminal:
    """Runs commands whose stderr is a terminal; keeps the bytes that they show."""

    def __init__(self, columns: int = 100, lines: int = 30) -> None:
        self.master, self.slave = os.openpty()
        self.resize(columns, lines)
        self.shown = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(self.master, 65536):
                self.shown += chunk

    def start(
        self, words: list[str], env: Mapping[str, str], cwd: Path
    ) -> "subprocess.Popen[bytes]":
        """Start a command in the foreground of the terminal; stdout is a pipe."""
        free = {k: v for k, v in env.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
        return subprocess.Popen(
            words,
            env={"TERM": "xterm-256color", **free},
            cwd=cwd,
            stdin=self.slave,
            stdout=subprocess.PIPE,
            stderr=self.slave,
            start_new_session=True,
        )

    def wait_for(self, text: bytes, seconds: float = 60.0) -> None:
        """Wait until it has been shown."""
        until = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < until, f"never shown: {text!r} in {self.shown!r}"
            time.sleep(0.02)

    def close(self) -> bytes:
        """All that was shown."""
        os.close(self.slave)
        self._reader.join(30)
        os.close(self.master)
        return self.shown


@pytest.fixture
def new_terminal() -> Iterator[Callable[..., Terminal]]:
    """Open terminals; what a test leaves open is closed after it."""
    opened: list[Terminal] = []

    def make(columns: int = 100, lines: int = 30) -> Terminal:
        opened.append(Terminal(columns, lines))
        return opened[-1]

    yield make
    for terminal in opened:
        with contextlib.suppress(OSError):
            terminal.close()
