"""How a program that an action called came to its end: by itself, or by a signal or for memory.

Compilers are drivers of other programs: what ended one of those is told by status and words. The
words are those that gcc 12, clang 19, nvcc 13 and what they call print; a line counts only in the
form that they give it, so that an error which quotes a source is no proof of anything.
"""

import errno
import re
import signal
import subprocess
from collections.abc import Iterator

ERROR = "error"
CRASHED = "crashed"
KILLED = "killed"
"""By SIGKILL: for lack of memory, if the kernel says that it did such a thing."""
MEMORY = "memory"

_FATAL = {
    signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGKILL, signal.SIGSEGV,
    signal.SIGSYS, signal.SIGTERM, signal.SIGTRAP,
}  # fmt: skip
_SHELL = 128
"""Shells, wrappers and nvcc exit with this and the number of the signal that ended what they
called."""
_NAME = r"^(?:\S*/)?[\w.+-]+(?:\.exe)?: "
_STARVED = re.compile(
    "|".join(
        (
            # libiberty's xmalloc: of all of gcc and binutils.
            _NAME + r"out of memory allocating \d+ bytes",
            _NAME + r"(?:fatal error: |\*\*\* )?(?:virtual )?memory exhausted",
            _NAME + r"(?:.*: )?(?:final link failed: )?memory exhausted$",
            _NAME + r"(?:fatal error: |error: )?(?:.*: )?Cannot allocate memory$",
            r"^(?:virtual )?memory exhausted",
            r"^LLVM ERROR: out of memory",
            r"^LLVM ERROR: Buffer allocation failed",
            r"^\s*what\(\):\s+std::bad_alloc",
            r"^terminate called after throwing an instance of 'std::bad_alloc'",
            r"^(?:.*: )?[Cc]atastrophic error: out of memory",
            r"^(?:ptxas|nvlink|fatbinary|cicc)\s+(?:fatal|error)\s*: .*(?:[Mm]emory allocation "
            r"failure|[Oo]ut of memory|[Mm]emory exhausted)",
            r"^memory allocation of \d+ bytes failed$",
            r"^MemoryError\b",
        )
    ),
    re.M,
)
_SIGNALLED = re.compile(
    "|".join(
        (
            # The words are strsignal(3)'s. gcc calls all but SIGKILL an internal compiler error.
            _NAME + r"(?:fatal|internal compiler) error: (?P<gcc>[A-Z][\w ]*) signal terminated",
            _NAME + r"internal compiler error: (?P<older>[A-Z][\w ]*) \(program ",
            _NAME + r"(?:fatal )?(?:error: )?ld terminated with signal (?P<collect2>\d+) ",
            r"^nvcc (?:error|fatal)\s*: '[^']*' died due to signal (?P<nvcc>\d+)",
            _NAME + r"error: unable to execute command: (?P<clang>[A-Z][\w ]*)$",
            _NAME + r"error: clang frontend command failed (?P<frontend>due to signal)",
            # The driver of gcc tries a failing program again before it says so.
            r"^The bug is not reproducible, so it is likely a (?P<luck>hardware or OS problem)",
        )
    ),
    re.M,
)


class ProgramDied(Exception):
    """A program that an action called did not end by itself; the text is for the user.

    `end` is crashed, killed or memory. A fresh process might fare better.
    """

    def __init__(self, end: str, text: str) -> None:
        super().__init__(text)
        self.end = end


def signal_name(number: int) -> str:
    """SIGSEGV and the like; real-time signals have no name of their own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def end_of_program(status: int, said: str) -> str:
    """Of a program that failed: `status` as in subprocess, `said` what it printed.

    An internal compiler error is an error: it is an answer, and would be given again.
    """
    if _STARVED.search(said):
        return MEMORY
    number = -status if status < 0 else status - _SHELL
    if number == signal.SIGKILL:
        return KILLED
    if status < 0 or number in _FATAL:
        return CRASHED
    found = _SIGNALLED.search(said)
    if found is None:
        return ERROR
    return KILLED if found[found.lastgroup or 0] in ("Killed", "9") else CRASHED


def end_of_exception(error: BaseException) -> str:
    """Of what a function raised, or of what led to that."""
    for each in _chain(error):
        if isinstance(each, ProgramDied):
            return each.end
        if isinstance(each, MemoryError):
            return MEMORY
        if isinstance(each, OSError) and each.errno == errno.ENOMEM:
            return MEMORY
        if isinstance(each, subprocess.CalledProcessError):
            end = end_of_program(each.returncode, f"{_text(each.stderr)}\n{_text(each.output)}")
            if end != ERROR:
                return end
    return ERROR


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, what caused it, and what was being handled; cycles do occur."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__context__, each.__cause__]


def _text(said: object) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said or "")
