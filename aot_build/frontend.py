"""The near side of a build: start the driver process, go on with other work, wait for its end.

Imports the standard library alone: setuptools processes, the command line and scripts use it.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from aot_build import snapshot
from aot_build.errors import (
    AotBuildError,
    EnvironmentProblem,
    InputError,
    InternalError,
    KernelsFailed,
)
from aot_build.events import (
    BuildError,
    BuildFinished,
    Event,
    Notice,
    PlanListed,
    PlanRow,
    Summary,
    VerifyListed,
    VerifyRow,
    decode,
)
from aot_build.report.summary import tally
from aot_build.request import Request

STOP_SECONDS = 3.0
"""How long a driver may take to clean up before it is killed."""
WAKE_SECONDS = 0.2
"""How long an interrupt may go unnoticed."""

_BOOT = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from aot_build.driver import main; main(int(sys.argv[1]))"
)
"""`python -m aot_build.driver`, on the import path of this process."""


class Build:
    """A build under way, in a process of its own. `wait` may be called once or often."""

    def __init__(
        self,
        request: Request,
        emit: Callable[[Event], None] | None,
        ended: Callable[[], None] | None = None,
    ) -> None:
        self._emit = emit or (lambda event: None)
        self._ended = ended or (lambda: None)
        self._project = request.project
        self._summary: Summary | None = None
        self._error: AotBuildError | None = None
        self._broken: Exception | None = None
        """What a listener to the events raised."""
        self._driver: subprocess.Popen[bytes] | None = None
        self._package = ""
        self.listed: tuple[PlanRow, ...] = ()
        """The rows of a plan, where that is all that was asked for."""
        self.verified: tuple[VerifyRow, ...] = ()
        """The rows of a verification, where that is what was asked for."""
        if not self._is_fresh(request):
            if request.goal == "build":
                _forget_summary()
            self._start(request)

    @property
    def package(self) -> str:
        """Import package that holds the artifacts; empty where nothing was to be built.

        Known once `wait` has returned.
        """
        return self._package

    @property
    def started(self) -> bool:
        """Whether there was anything to do: a process, beside this one, that does it."""
        return self._driver is not None

    def wait(self, *, check: bool = True) -> Summary:
        """Block until the build has ended. Raises what it failed with, an AotBuildError.

        Kernels that did not compile are KernelsFailed; with `check=False` the summary tells.
        """
        if self._driver is not None:
            try:
                # A signal that comes just before a wait, or that another thread is given, does
                # not end it: its handler would run when the build is over.
                while self._reader.is_alive():
                    self._reader.join(WAKE_SECONDS)
                self._driver.wait()
            except BaseException:
                self.stop()
                raise
        if self._error is not None:
            raise self._error
        if self._broken is not None:
            raise self._broken
        if self._summary is None:
            raise self._lost()
        if check and self._summary.failed:
            raise KernelsFailed(tally(self._summary))
        return self._summary

    def stop(self) -> None:
        """End the build at once, with everything that it started. Idempotent."""
        driver = self._driver
        if driver is None or driver.poll() is not None:
            return
        driver.terminate()
        try:
            driver.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            driver.kill()
            driver.wait()

    def _is_fresh(self, request: Request) -> bool:
        began = time.perf_counter()
        found = request.goal == "build" and snapshot.fresh(request.project, request.shape)
        if not found:
            return False
        self._package, answer = found
        text, left_out = snapshot.said(answer, time.perf_counter() - began)
        for line in left_out:
            self._emit(Notice(line))
        self._finish(Summary.from_json(text))
        return True

    def _start(self, request: Request) -> None:
        project = Path(request.project)
        if not (project / "pyproject.toml").is_file():
            raise InputError(
                "no pyproject.toml here", {"folder": project}, "name the project: --project DIR"
            )
        folder = project.joinpath(*snapshot.FOLDER)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._launch(request, folder)
        except OSError as error:
            raise EnvironmentProblem(
                "a build cannot be started", {"folder": folder, "error": error}
            ) from error

    def _launch(self, request: Request, folder: Path) -> None:
        receiver, sender = (_above_standard(end) for end in os.pipe())
        try:
            # The driver's own output must not hold the front end's: pip waits for every holder.
            with open(folder / "driver.log", "wb") as log:
                self._driver = subprocess.Popen(
                    [sys.executable, "-P", "-c", _BOOT, str(sender), *import_path()],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=(sender,),
                    start_new_session=True,
                )
        except BaseException:
            os.close(receiver)
            raise
        finally:
            os.close(sender)
        assert self._driver.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._driver.stdin as stdin:
            stdin.write(_with_tokens(request).encode())
        # Read at once and always: a driver must never wait for a front end that is busy.
        self._reader = threading.Thread(target=self._read, args=(receiver,), daemon=True)
        self._reader.start()

    def _read(self, receiver: int) -> None:
        with open(receiver, encoding="utf-8", errors="surrogateescape") as stream:
            for line in stream:
                try:
                    self._take(decode(line))
                except Exception as error:
                    # Whoever listens may fail; the driver must still be read to its end.
                    self._broken = self._broken or error
        self._ended()

    def _take(self, event: Event) -> None:
        match event:
            case BuildFinished():
                self._package = event.package
                self._finish(event.summary)
            case BuildError():
                self._error = event.error()
            case PlanListed():
                self._summary, self.listed = Summary(), event.rows
            case VerifyListed():
                self._summary, self.verified = Summary(), event.rows
            case _:
                self._emit(event)

    def _finish(self, summary: Summary) -> None:
        self._summary = summary
        if problem := write_summary(summary.to_json()):
            self._emit(Notice(problem))
        self._emit(BuildFinished(summary, self._package))

    def _lost(self) -> AotBuildError:
        assert self._driver is not None
        status = self._driver.returncode
        end = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        log = Path(self._project, *snapshot.FOLDER, "driver.log")
        return InternalError(
            "the build driver ended without an answer",
            {"ended by": end, "log": log},
            "what had finished is kept: build again",
        )


def _with_tokens(request: Request) -> Request:
    """With the pot of CPU tokens that this process was itself started with, as below a `make -j`,
    where it brings none of its own."""
    if request.tokens or "--jobserver" not in os.environ.get("MAKEFLAGS", ""):
        return request
    from aot_build.execute.tools import outer_pot

    pot = outer_pot(os.environ)
    return replace(request, tokens=(pot,)) if pot else request


def _above_standard(descriptor: int) -> int:
    """The driver's streams take the first three numbers, which may be free in this process."""
    if descriptor > 2:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(descriptor)
    return moved


def import_path() -> list[str]:
    """This process's import path, for the driver: an isolated build has aot_build only there.

    The folder that the front end stands in, or was started from, is left out: a project's
    `platform.py` must not shadow a module of the driver.
    """
    own = str(Path(__file__).parent.parent)
    here = {os.getcwd(), os.path.dirname(os.path.abspath(sys.argv[0]))} - {own}
    paths = [os.path.abspath(path) for path in sys.path if path]
    paths = [path for path in paths if path not in here]
    return paths if own in paths else [own, *paths]


def write_summary(text: str) -> str:
    """Put the summary where AOT_BUILD_SUMMARY asks for it; what went wrong, else nothing."""
    path = os.environ.get("AOT_BUILD_SUMMARY")
    try:
        if path:
            Path(path).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        return f"the summary cannot be written: {error}"
    return ""


def _forget_summary() -> None:
    """The last build's must not be taken for this one's, should this one not get that far."""
    path = os.environ.get("AOT_BUILD_SUMMARY")
    with contextlib.suppress(OSError):
        if path and os.path.isfile(path):
            os.unlink(path)


def start(
    project: str | os.PathLike[str],
    *,
    targets: Sequence[str] | None = None,
    mode: str | None = None,
    kernels: Sequence[str] | None = None,
    jobs: int | None = None,
    keep_going: bool | None = None,
    config_settings: Mapping[str, object] | None = None,
    package_dir: str | None = None,
    folder: str = "",
    emit: Callable[[Event], None] | None = None,
    front_end: int = 0,
    goal: str = "build",
    sample: int | None = None,
    tokens: Sequence[str] = (),
    ended: Callable[[], None] | None = None,
) -> Build:
    """Start building a project's kernels and return at once; overlap what you like until `wait`.

    `emit` is called with each event, from another thread. With `folder` the result goes there,
    below `build/aot`, and holds nothing else. `front_end` is the id of a process that
    this one works for, 0 for none: its death ends the build. `tokens` are addresses of a pot of CPU
    tokens to share; `ended` is called, from another thread, when the build's processes are gone.
    Arguments that are None are as configured.
    """
    watched = (os.getpid(), front_end) if front_end else (os.getpid(),)
    request = Request(
        project=os.path.realpath(project),
        targets=targets,
        mode=mode,
        kernels=kernels,
        jobs=jobs,
        keep_going=keep_going,
        config_settings=config_settings or {},
        package_dir=package_dir,
        folder=folder,
        watched=watched,
        goal=goal,
        sample=sample,
        tokens=tokens,
    )
    return Build(request, emit, ended)


def build(project: str | os.PathLike[str], **options: object) -> Summary:
    """Build a project's kernels: `start` and `wait` in one."""
    return start(project, **options).wait()  # type: ignore[arg-type]


def plan(
    project: str | os.PathLike[str],
    *,
    targets: Sequence[str] | None = None,
    mode: str | None = None,
    kernels: Sequence[str] | None = None,
    emit: Callable[[Event], None] | None = None,
) -> tuple[PlanRow, ...]:
    """What a build would do, and why: a row each variant. Compiles nothing."""
    asked = start(project, targets=targets, mode=mode, kernels=kernels, emit=emit, goal="plan")
    asked.wait()
    return asked.listed


def verify(
    project: str | os.PathLike[str],
    *,
    kernels: Sequence[str] | None = None,
    sample: int | None = None,
    emit: Callable[[Event], None] | None = None,
) -> tuple[VerifyRow, ...]:
    """Build variants again, without the cache, and compare their bytes: a row each variant."""
    asked = start(project, kernels=kernels, sample=sample, emit=emit, goal="verify")
    asked.wait()
    return asked.verified
