"""CPU tokens that the build tools of other commands share with the kernels, while both go on.

The setuptools process makes the pot and holds one token: that is what the command that runs just
now has for the one job that any tool may start. The driver fills the pot, with as many tokens as
it has slots.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from aot_build.execute.jobserver import Jobserver
from aot_build.execute.tools import FOLDER, equipped, outer_pot, reachable

_POLL_SECONDS = 0.05
_ANSWER_SECONDS = 10
_THREADS_OF_NVCC = ("-t", "--threads")


class Sharing:
    """From `enter` to `leave` this process's environment leads build tools to the pot."""

    def __init__(self, pot: Jobserver, folder: Path, *, nvcc_threads: bool) -> None:
        self._pot, self._folder, self._nvcc_threads = pot, folder, nvcc_threads
        self._changed: dict[str, tuple[str | None, str | None]] = {}
        self._left = False
        """Whether the token was given back."""
        self._own_slot = threading.Lock()

    @staticmethod
    def of(folder: Path, ext_modules: Iterable[Any]) -> Sharing | None:
        """A pot for a build whose own folder this is.

        None where the system has no such thing, and where this process was itself started with
        one, as below a `make -j`: its tools know that, and the driver takes from it as well.
        """
        if outer_pot(os.environ):
            return None
        try:
            pot = Jobserver.create()
        except OSError:
            return None
        return Sharing(pot, folder, nvcc_threads=_threads_asked(ext_modules))

    @property
    def addresses(self) -> tuple[str, str]:
        """Where the driver finds the pot."""
        return self._pot.addresses

    def enter(self) -> None:
        """Change the environment; `leave` undoes it. The driver has been started by now.

        Where tools could not open the pot, they are left to do as they always do.
        """
        if not reachable(self._pot.path):
            self.leave()
            return
        wanted: dict[str, str] = equipped(os.environ, self._pot.path, self._folder)
        if self._nvcc_threads and _nvcc_knows_pots():
            # `--threads` alone takes no token; this alone starts no thread.
            given = os.environ.get("NVCC_APPEND_FLAGS", "")
            wanted["NVCC_APPEND_FLAGS"] = f"{given} --jobserver".strip()
        for name in {*os.environ, *wanted}:
            was, will = os.environ.get(name), wanted.get(name)
            if was != will:
                self._changed[name] = (was, will)
                _put(name, will)

    def expect(self, jobs: int) -> None:
        """Have the kernels leave tokens to so many jobs of a tool that asks for them once."""
        self._pot.expect(jobs)

    def leave(self) -> None:
        """Give back the token, and make the environment what it was. Idempotent.

        A variable that somebody else has changed meanwhile stays as it is now.
        """
        for name, (was, will) in self._changed.items():
            now = os.environ.get(name)
            if now == will:
                _put(name, was)
            elif name == "PATH" and now is not None:
                ours = str(self._folder / FOLDER)
                kept = (each for each in now.split(os.pathsep) if each != ours)
                _put(name, os.pathsep.join(kept))
        self._changed = {}
        if not self._left:
            self._left = True
            self._pot.give()

    def close(self) -> None:
        """Leave, and be rid of the pot; until then workers find it through this process."""
        self.leave()
        self._pot.close()

    def refill(self) -> None:
        """Put back what the tools of a command took along, now that it has ended."""
        if not self._left:
            self._pot.refill()

    def bury(self) -> None:
        """The driver has ended, whichever way: what it held is for others."""
        self._pot.bury()

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Wait until this thread may run a job: the command's own, or one for a token."""
        release = self._wait()
        try:
            yield
        finally:
            release()

    def _wait(self) -> Callable[[], None]:
        while not self._own_slot.acquire(blocking=False):
            if self._pot.take():
                return self._pot.give
            select.select([self._pot], [], [], _POLL_SECONDS)
        return self._own_slot.release


def _put(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _threads_asked(ext_modules: Iterable[Any]) -> bool:
    """Whether nvcc is told to start threads: by a variable of which many projects make an
    argument, or by an argument of an extension."""
    if os.environ.get("NVCC_THREADS"):
        return True
    for extension in ext_modules:
        given = getattr(extension, "extra_compile_args", None) or ()
        groups = given.values() if isinstance(given, dict) else [given]
        words = (str(word).partition("=")[0] for group in groups for word in group or ())
        if any(word in _THREADS_OF_NVCC for word in words):
            return True
    return False


def _nvcc_knows_pots() -> bool:
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = shutil.which("nvcc", path=os.path.join(home, "bin") if home else None)
    if nvcc is None:
        return False
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        words = [nvcc, "--help"]
        done = subprocess.run(words, capture_output=True, timeout=_ANSWER_SECONDS)
        return b"--jobserver" in done.stdout
    return False
