"""Programs that run under the tracer, and what it saw of them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from aot_build.backends.tracing import library, records
from aot_build.backends.tracing.library import Library
from aot_build.backends.tracing.records import Log

ROOT = Path(__file__).parents[3]


class Tracer:
    """Runs programs in one folder, each with a log of its own."""

    def __init__(self, folder: Path, library: Library) -> None:
        self.folder = folder
        self.library = library
        self.out = ""

    def write(self, name: str, content: str | bytes = "", mode: int = 0o644) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return path

    def env(self, **more: str) -> dict[str, str]:
        """An environment that has programs write to the folder's log."""
        records.create(self.log_path)
        plain = {**os.environ, "PYTHONPATH": str(ROOT), **more}
        return {**library.preloaded(plain, self.library), library.LOG_VARIABLE: self.log_path}

    @property
    def log_path(self) -> str:
        return f"{self.folder}.log"

    def run(self, command: Sequence[str | Path], status: int = 0, **env: str) -> Log:
        done = subprocess.run(
            [str(word) for word in command], cwd=self.folder, env=self.env(**env),
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        self.out = done.stdout
        assert done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return records.read(self.log_path)

    def python(self, script: str, *arguments: str | Path, **env: str) -> Log:
        return self.run([sys.executable, "-c", script, *arguments], **env)

    def compile(self, name: str, source: str, *flags: str) -> Path:
        """A C program in the folder, by itself not traced."""
        self.write(f"{name}.c", source)
        command = ["gcc", "-D_GNU_SOURCE", "-w", f"{name}.c", "-o", name, *flags]
        subprocess.run(command, cwd=self.folder, check=True, timeout=100)
        return self.folder / name

    def below(self, log: Log) -> list[str]:
        """What was seen inside the folder: `r there`."""
        start = f"{self.folder}/"
        return [
            f"{kind} {path.removeprefix(start)}"
            for kind, path in log.records
            if path.startswith(start)
        ]
