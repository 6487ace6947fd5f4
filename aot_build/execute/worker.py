"""The process of one job: it prepares itself, calls the entry, answers and exits."""

import contextlib
import gc
import importlib
import operator
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from aot_build import process
from aot_build.core import ending
from aot_build.execute.protocol import Job
from aot_build.execute.wire import ANSWER, CRASHED, ERROR, KILLED, MEMORY, OK

NO_PYCACHE = os.path.join(os.devnull, "pycache")
"""Bytecode is looked for here and never found: not even root can make a folder in a device."""
REASON_LENGTH = 2000
OOM_SCORE = 500
"""All descendants keep it, whatever session or parent they come to: orphans are known by it."""
_TAGS = {
    ending.ERROR: ERROR,
    ending.CRASHED: CRASHED,
    ending.KILLED: KILLED,
    ending.MEMORY: MEMORY,
}
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""getrusage(2) tells `ru_maxrss` in bytes on macOS and in KiB elsewhere."""


def detach(parent: int) -> None:
    """Become a process that dies with `parent` and whose whole tree can be told and killed."""
    process.die_with_parent(signal.SIGKILL, parent)
    os.setsid()
    # What the job's own children leave behind stays in the job's tree while it runs.
    process.become_subreaper()
    # Where memory runs out, a job goes: not the build, nor whatever started it.
    process.set_oom_score(OOM_SCORE)
    # The core of a compiler takes longer to write than the compiler took to crash.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    signal.set_wakeup_fd(-1)
    for signum in _SIGNALS:
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def serve(job: Job, answer: int, parent: int) -> NoReturn:
    """Run a job in this freshly forked process and end it. `answer` is the pipe to write to."""
    detach(parent)
    pipe = os.fstat(answer)
    inherited = _most_memory(resource.RUSAGE_SELF)
    tag, body = _attempt(job)
    for stream in (sys.stdout, sys.stderr):
        # The job may have put anything in their place.
        with contextlib.suppress(Exception):
            stream.flush()
    process.flush_c_streams()
    frame = ANSWER.pack(tag, _memory_needed(inherited), len(body)) + body
    with contextlib.suppress(OSError):
        # A job that closed all descriptors may have a file of its own under this number.
        if os.path.samestat(os.fstat(answer), pipe):
            _write(answer, frame)
    os._exit(0)


def _attempt(job: Job) -> tuple[bytes, bytes]:
    try:
        _prepare(job)
        returned = resolve(job.entry)(job.payload)
        if not isinstance(returned, (bytes, bytearray)):
            raise TypeError(f"{job.entry} returned {type(returned).__name__}, not bytes")
        return OK, bytes(returned)
    except BaseException as error:
        return _describe(error)


def resolve(entry: str) -> Callable[..., Any]:
    """Import what `module:function` names."""
    module, _, name = entry.partition(":")
    if not module or not name:
        raise ValueError(f"an entry is module:function, not {entry!r}")
    found: Callable[..., Any] = operator.attrgetter(name)(importlib.import_module(module))
    return found


def _prepare(job: Job) -> None:
    log = os.open(job.log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    os.environ.update(job.env)
    if job.scratch:
        os.chdir(job.scratch)
        os.environ["TMPDIR"] = job.scratch
    tempfile.tempdir = None
    # A source edited within a second to the same size would be served stale out of a .pyc.
    sys.dont_write_bytecode = True
    sys.pycache_prefix = NO_PYCACHE
    # Of the interpreters that it starts as well.
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": NO_PYCACHE}
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()
    gc.enable()


def _describe(error: BaseException) -> tuple[bytes, bytes]:
    """The answer for an exception; the traceback goes to the log, whatever `error` does."""
    with contextlib.suppress(BaseException):
        traceback.print_exception(error, file=sys.__stderr__)
    reason = _reason(error)
    if len(reason) > REASON_LENGTH:
        reason = reason[:REASON_LENGTH] + "..."
    tag = ERROR
    with contextlib.suppress(BaseException):
        tag = _TAGS[ending.end_of_exception(error)]
    return tag, reason.encode("utf-8", "backslashreplace")


def _reason(error: BaseException) -> str:
    name = type(error).__qualname__
    try:
        if type(error).__module__ != "builtins":
            name = f"{type(error).__module__}.{name}"
        text = str(error)
    except BaseException:
        text = "<its message cannot be shown>"
    if isinstance(error, ending.ProgramDied):
        return text
    return f"{name}: {text}" if text else name


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _most_memory(who: int) -> int:
    return resource.getrusage(who).ru_maxrss * _RSS_UNIT


def _memory_needed(inherited: int) -> int:
    """Bytes that the job came to need, as far as this process can tell for nothing.

    A fork starts at its parent's resident size, so only the growth is the job's own; a child's
    value is its own only where it is above ours, which it started at.
    """
    own, child = _most_memory(resource.RUSAGE_SELF), _most_memory(resource.RUSAGE_CHILDREN)
    return max(own - inherited, child if child > own else 0)
