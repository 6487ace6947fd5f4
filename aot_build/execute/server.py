"""The pool's end of one forkserver: starting it, talking to it, being rid of it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from aot_build import process
from aot_build.core import threads
from aot_build.errors import EnvironmentProblem
from aot_build.execute import wire
from aot_build.execute.worker import OOM_SCORE

STOP_SECONDS = 1.0
"""How long it may take to kill everything before that is done in its place: an interrupted build is
to be gone within 2 s, and whoever asked for it waits for 3."""
SWEEP_SECONDS = 3.0
_PIECE = 1 << 16
# The package may be importable by what the caller did to sys.path alone; nothing but `sys` is
# imported before that is repeated, and -P keeps the current folder from shadowing anything.
_BOOT = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "from aot_build.execute.forkserver import main; main(*map(int, sys.argv[1:3]))"
)
_ONE_THREAD = dict.fromkeys(threads.VARIABLES, "1")
"""Besides: OpenBLAS starts its threads at import, and with them neither numpy nor what imports it
could be preloaded."""
_living: set[int] = set()
"""The forkservers of this process: those of other pools are no orphans."""


class Server:
    """One forkserver. Its output goes to the file `log`, appended."""

    def __init__(self, env: Mapping[str, str] | None, log: str | os.PathLike[str]) -> None:
        self._log = log
        ours, theirs = socket.socketpair()
        try:
            with theirs, open(log, "ab") as output:
                self._process = _start(theirs.fileno(), env, output)
        except OSError as error:
            ours.close()
            raise EnvironmentProblem(
                "no process for the workers could be started", {"reason": error, "log": log}
            ) from error
        self.pid = self._process.pid
        self._started = process.start_ticks(self.pid)
        self._channel = ours
        self._reports = wire.Reports()
        _living.add(self.pid)

    def fileno(self) -> int:
        """The socket, readable when `receive` has something to say."""
        return self._channel.fileno()

    def send(self, message: msgspec.Struct, descriptor: int | None = None) -> None:
        """Send a request. Raises OSError where the forkserver is gone."""
        wire.send(self._channel, message, descriptor)

    def receive(self) -> list[wire.Ended | wire.Sampled | wire.Imported]:
        """The messages that are there. Raises EOFError where the forkserver is gone."""
        try:
            piece = self._channel.recv(_PIECE)
        except ConnectionError:
            piece = b""
        if not piece:
            raise EOFError
        return list(self._reports.feed(piece))

    def stop(self) -> None:
        """Have it kill everything, and wait for that."""
        self._channel.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # With what is below it: this process may be none that inherits orphans.
            process.kill_tree(self.pid)
        self.bury()

    def bury(self) -> str:
        """Take leave of one that died: kill what it left to this process. Says how it ended."""
        self._channel.close()
        if self._process.poll() is None:
            # Its end of the socket is closed before it is gone, and its children are ours after.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(SWEEP_SECONDS)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        _living.discard(self.pid)
        if self._process.returncode != 0:
            self._sweep()
        return self._last_words()

    def _sweep(self) -> None:
        """Kill its orphans. They come to this process only if it is a subreaper."""
        if not process.is_subreaper():
            return
        deadline = time.monotonic() + SWEEP_SECONDS
        while (orphans := self._orphans()) and time.monotonic() < deadline:
            for pid in orphans:
                process.kill_tree(pid)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(0.005)

    def _orphans(self) -> list[int]:
        """Our children that bear the marks of a worker's descendants.

        Workers lead sessions of their own and have a score that is kept for ever; both together
        spare what this process, or another thread of it, started for itself.
        """
        found = []
        for pid in process.children(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                started = process.start_ticks(pid)
                younger = started is not None and started >= (self._started or 0)
                marked = process.oom_score(pid) == OOM_SCORE and os.getsid(pid) != os.getsid(0)
                if younger and marked and pid not in _living:
                    found.append(pid)
        return found

    def _last_words(self) -> str:
        status = self._process.returncode
        if status < 0:
            return f"the forkserver was ended by {signal.Signals(-status).name}"
        with contextlib.suppress(OSError, IndexError):
            last = Path(self._log).read_text("utf-8", "replace").strip().splitlines()[-1]
            return f"the forkserver exited with status {status}: {last}"
        return f"the forkserver exited with status {status}"


def _start(
    channel: int, env: Mapping[str, str] | None, output: BinaryIO
) -> subprocess.Popen[bytes]:
    """Start a forkserver. Raises OSError."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _BOOT, str(channel), str(os.getpid()), *_import_path()],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env={**(os.environ if env is None else env), **_ONE_THREAD},
        pass_fds=(channel,),
        start_new_session=True,
    )


def _import_path() -> Sequence[str]:
    """The caller's `sys.path`, absolute: workers have another current folder."""
    return [os.path.abspath(entry) for entry in sys.path]
