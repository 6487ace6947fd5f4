"""What the forkserver imports for all later jobs, after a fork of it has tried.

A process with threads must not fork, and nothing takes a thread back; a module that starts
processes, opens a device or changes what every job sees is no better. Those are found out, with
the ones that do not import, in a process that is thrown away.
"""

import contextlib
import gc
import importlib
import json
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from aot_build import process
from aot_build.execute.wire import Import, Imported
from aot_build.execute.worker import detach

TRIAL_SECONDS = 60.0
PIPE_BYTES = 1 << 20
WATCH = "IMPORT_WATCH"
"""Name of the attribute by which a trusted module watches the imports after it."""
DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/dri", "/dev/accel")
DRIVERS = ("libcuda.so", "libnvidia-ml.so", "libamdhip64.so", "libhsa-runtime64.so")
_STARTS = frozenset(
    {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "pty.spawn",
     "subprocess.Popen"}
)  # fmt: skip
"""Audit events of a process that is started."""


class ImportWatch(Protocol):
    """Stands beside each import: it knows of what this room does not, such as whose it is."""

    def begin(self, module: str, *, trial: bool) -> None:
        """A module is about to be imported, in a trial or for all later jobs."""

    def end(self) -> str:
        """It was imported, or failed to be. Why it is refused; empty where it is fine."""


class Preloads:
    """Requests, one after the other; at most one trial at a time. `fork` is the server's."""

    def __init__(self, fork: Callable[[Callable[[], None]], int]) -> None:
        self._fork = fork
        self._requests: deque[Import] = deque()
        """What is to be tried; that of the first is being tried."""
        self._trusted: deque[Import] = deque()
        self._watches: list[ImportWatch] = []
        self._reader = -1
        self._verdicts: dict[str, str] = {}
        """Module -> why it is refused, empty where it is fine; of the trials of one request."""
        self._stopped = False
        """Whether the last trial ended early by itself, at a module that it refused."""
        self.pid = 0
        """The trial's process; 0 where none runs."""
        self.deadline = 0.0

    def ask(self, request: Import) -> None:
        """Queue a request. Those that are trusted wait for no trial."""
        (self._trusted if request.trusted else self._requests).append(request)

    def close(self) -> None:
        """Give up the trial's pipe, in a fork of the server."""
        if self._reader >= 0:
            os.close(self._reader)

    def step(self) -> Iterator[Imported]:
        """Do what can be done without waiting; give the requests that are settled."""
        while self._trusted:
            request = self._trusted.popleft()
            yield _answer(request, self._commit(request.modules))
        while self._requests and not self.pid:
            request = self._requests[0]
            untried = [name for name in request.modules if name not in self._verdicts]
            if not untried:
                yield self._import(self._requests.popleft())
            else:
                # The next trial need not import again what the last one found to be fine.
                self._commit([name for name, refused in self._verdicts.items() if not refused])
                self._try(untried)

    def tried(self) -> None:
        """The trial has ended and is reaped: take its verdicts, and one for what ended it."""
        # All lines fit into the pipe, and a module's own child may still hold the other end.
        with contextlib.suppress(BlockingIOError):
            for line in os.read(self._reader, PIPE_BYTES).splitlines():
                name, reason = json.loads(line)
                self._verdicts[name] = reason
                self._stopped = bool(reason)
        os.close(self._reader)
        late = time.monotonic() >= self.deadline
        self._reader, self.pid = -1, 0
        untried = [name for name in self._requests[0].modules if name not in self._verdicts]
        if untried and not self._stopped:
            slow, ended = f"takes more than {TRIAL_SECONDS:g} s", "ends the process"
            self._verdicts[untried[0]] = slow if late else ended
        self._spare_relatives()

    def _spare_relatives(self) -> None:
        """A package's other modules import the same package: no trial for each of them."""
        for name, reason in list(self._verdicts.items()):
            for other in self._requests[0].modules if reason else ():
                if other.startswith(f"{name}.") and other not in self._verdicts:
                    self._verdicts[other] = f"{name}: {reason}"

    def _try(self, modules: list[str]) -> None:
        server = os.getpid()
        self._stopped = False
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        self.deadline = time.monotonic() + TRIAL_SECONDS
        try:
            self.pid = self._fork(lambda: _trial(modules, self._watches, writer, server))
        except OSError as error:
            os.close(self._reader)
            self._reader = -1
            self._verdicts.update(dict.fromkeys(modules, str(error)))
        finally:
            os.close(writer)

    def _import(self, request: Import) -> Imported:
        refused, self._verdicts = self._verdicts, {}
        refused |= self._commit([name for name in request.modules if not refused[name]])
        return _answer(request, refused)

    def _commit(self, modules: Sequence[str]) -> dict[str, str]:
        """Import for all later jobs; module -> why not, after all."""
        refused = {}
        for name in modules:
            refused[name] = attempt(name, self._watches)
            watch = getattr(sys.modules.get(name), WATCH, None)
            if watch is not None and watch not in self._watches:
                self._watches.append(watch)
        # What an import printed must not be printed again by each fork.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        process.flush_c_streams()
        # Frozen, they are not written to by a collection in a fork, and so stay shared with it.
        gc.collect()
        gc.freeze()
        return refused


def _answer(request: Import, refused: dict[str, str]) -> Imported:
    reasons = {name: reason for name, reason in refused.items() if reason}
    return Imported(request.modules, reasons)


def attempt(module: str, watches: list[ImportWatch], trial: bool = False) -> str:
    """Import a module; the reason where that fails or leaves a thread, else nothing."""
    for watch in watches:
        watch.begin(module, trial=trial)
    reason = ""
    try:
        importlib.import_module(module)
    except BaseException as error:
        traceback.print_exc()
        reason = traceback.format_exception_only(error)[-1].strip()
    found = [watch.end() for watch in watches]
    count = process.threads()
    if count > 1:
        reason = reason or f"starts {count - 1} thread(s)"
    return reason or next(filter(None, found if trial else ()), "")


# A trial


def _trial(modules: list[str], watches: list[ImportWatch], writer: int, server: int) -> None:
    """Import in order, a line of JSON for each; stop at the first that is refused.

    What comes after one must not be judged by what that one did.
    """
    detach(server)
    # The server will write the bytecode: a trial may be killed.
    sys.dont_write_bytecode = True
    noted: list[str] = []
    sys.addaudithook(lambda event, args: _note(noted, event, args))
    for name in modules:
        noted.clear()
        before = _surroundings()
        reason = attempt(name, watches, trial=True)
        reason = reason or next(iter(noted), "") or _difference(before, _surroundings())
        os.write(writer, json.dumps([name, reason]).encode() + b"\n")
        if reason:
            break
    os._exit(0)


def _note(noted: list[str], event: str, args: tuple[Any, ...]) -> None:
    if event in _STARTS:
        noted.append("starts a process")
    elif event == "open" and str(args[0]).startswith(DEVICES):
        noted.append(f"opens {args[0]}")
    elif event == "ctypes.dlopen" and os.path.basename(str(args[0])).startswith(DRIVERS):
        noted.append(f"loads {args[0]}")


def _surroundings() -> dict[str, object]:
    """What every job sees of its process, and the traces that a look for devices leaves.

    Libraries open and load them without an audit event.
    """
    found: dict[str, object] = {f"sets {name}": value for name, value in os.environ.items()}
    found["changes sys.path"] = tuple(sys.path)
    found["changes the current folder"] = os.getcwd()
    with contextlib.suppress(OSError):
        for descriptor in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                path = os.readlink(f"/proc/self/fd/{descriptor}")
                if path.startswith(DEVICES):
                    found[f"opens {path}"] = True
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            name = os.path.basename(line.rstrip("\n"))
            if name.startswith(DRIVERS):
                found[f"loads {name}"] = True
    return found


def _difference(before: dict[str, object], after: dict[str, object]) -> str:
    """The first thing that is not as it was, in words."""
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return min(changed, default="")
