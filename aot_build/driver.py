"""The guarded process that owns the pool; frontend.py starts it.

It reads one request on standard input and writes events to a pipe, one JSON line each; the last
one is BuildFinished or BuildError. It lives in a session of its own, so that a Ctrl-C reaches it
only through whoever asked for the build, and it ends when they do.
"""

import contextlib
import errno
import os
import signal
import sys
import traceback
import uuid
from pathlib import Path
from types import FrameType
from typing import NoReturn

from aot_build import snapshot
from aot_build._version import VERSION
from aot_build.errors import (
    AotBuildError,
    EnvironmentProblem,
    InternalError,
    Interrupted,
)
from aot_build.events import (
    BuildError,
    BuildFinished,
    BuildStarted,
    Emit,
    Event,
    PlanListed,
    VerifyListed,
    encode,
)
from aot_build.process import become_subreaper, watch_processes
from aot_build.report.log import EventLog
from aot_build.request import Request, decode_request


def main(pipe: int) -> NoReturn:
    """Serve one request, telling events to the pipe with this descriptor; then exit."""
    request = decode_request(sys.stdin.buffer.readline())
    sys.stdin.close()
    become_subreaper()
    watch_processes(request.watched)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    emit = _emitter(pipe, request)
    try:
        emit(_serve(request, emit))
    except AotBuildError as error:
        _tell(emit, error)
    except Exception as error:
        _log_traceback()
        _tell(emit, _unexpected(request, error))
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    # Nothing is left to be done, and no thread is to be waited for.
    os._exit(0)


def _serve(request: Request, emit: Emit) -> Event:
    # Imported late, so that a front end that goes away at once is noticed at once.
    from aot_build.account import list_plan
    from aot_build.build import build
    from aot_build.files import stamp_ns
    from aot_build.opening import declared_settings, open_workspace
    from aot_build.plan import make_plan
    from aot_build.verify import verify

    began_ns = stamp_ns()
    settings, registry = declared_settings(request)
    workspace = open_workspace(settings, registry, emit, request.tokens)
    try:
        if request.goal == "verify":
            return VerifyListed(verify(workspace, request.kernels, request.sample))
        if request.goal == "plan":
            return PlanListed(list_plan(make_plan(workspace, request.kernels), workspace))
        summary = build(workspace, request, began_ns)
    finally:
        workspace.close()
    return BuildFinished(summary, settings.package if settings.kernels else "")


def _tell(emit: Emit, error: AotBuildError) -> None:
    # Whoever asked may be the one whose end has interrupted us.
    with contextlib.suppress(Interrupted):
        emit(BuildError.of(error))


def _emitter(descriptor: int, request: Request) -> Emit:
    # They live as long as the process.
    stream = os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", buffering=1)
    log = EventLog.of_build(request.project) if request.goal == "build" else None

    def emit(event: Event) -> None:
        line = encode(event)
        if log is not None:
            log.write(line)
        try:
            stream.write(line + "\n")
        except BrokenPipeError:
            raise Interrupted("whoever asked for this build is gone") from None

    if log is not None:
        emit(BuildStarted(uuid.uuid4().hex, VERSION))
    return emit


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Interrupted("the build was stopped")


def _log_traceback() -> None:
    """The log may be on the very disk that is full: the answer matters more."""
    with contextlib.suppress(OSError):
        traceback.print_exc()


def _unexpected(request: Request, error: Exception) -> AotBuildError:
    log = Path(request.project, *snapshot.FOLDER, "driver.log")
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some disk space and build again: what had finished is kept" if full else None
        return EnvironmentProblem("the build cannot go on", {"error": error, "log": log}, hint)
    problem = f"{type(error).__name__}: {error}"
    return InternalError("the build broke", {"error": problem, "log": log}, "please report this")
