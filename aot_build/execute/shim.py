"""What stands in for a `make` or `ninja` too old to know the fifo form of a jobserver.

A program of its own: tools.py copies it, under the name of the tool, into a folder that is first
on PATH while a build runs. It finds the real one further on.

make before 4.4 aborts on the form: it gets the pot as a descriptor, the form that it knows.
ninja before 1.13 knows none, and would start a job a CPU: it gets what tokens there are at its
start, for as long as it runs. Everything else is passed on as it is.
"""

import ctypes
import os
import re
import shutil
import signal
import sys
from typing import NoReturn

AUTH = re.compile(r"(?<!\S)--jobserver-(?:auth|fds)=fifo:(\S+)")
JOBS = re.compile(r"-j\d*|--jobs(=.*)?")
PR_SET_PDEATHSIG = 1  # prctl(2)
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(name: str, arguments: list[str]) -> NoReturn:
    """Become the real tool, or run it."""
    real = find(name)
    found = AUTH.findall(os.environ.get("MAKEFLAGS", ""))
    pot = open_pot(found[-1]) if found else -1
    if pot >= 0 and name != "ninja":
        os.set_inheritable(pot, True)
        flags = AUTH.sub(f"--jobserver-auth={pot},{pot}", os.environ["MAKEFLAGS"])
        os.environ["MAKEFLAGS"] = flags
    elif pot >= 0 and not any(JOBS.fullmatch(word) or word[:2] == "-t" for word in arguments):
        run(real, arguments, pot)
    # Under its own path, which recursive makes are started by.
    os.execv(real, [real, *arguments])


def find(name: str) -> str:
    """The tool that is on PATH behind this folder."""
    here = os.path.realpath(os.path.dirname(os.path.abspath(sys.argv[0])))
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    behind = [folder for folder in folders if os.path.realpath(folder or ".") != here]
    real = shutil.which(name, path=os.pathsep.join(behind))
    if real is None:
        print(f"{name}: not found on PATH", file=sys.stderr)
        sys.exit(127)
    return real


def open_pot(path: str) -> int:
    """The pot; -1 where it is gone, or somebody else's."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return -1


def run(real: str, arguments: list[str], pot: int) -> NoReturn:
    """Run ninja with one job a token, and end as it ends."""
    tokens = take(pot, (os.cpu_count() or 1) + 1)
    status = -1
    try:
        child = os.fork()
        if child == 0:
            become(real, [real, f"-j{1 + len(tokens)}", *arguments])
        # A Ctrl-C comes to ninja twice then, by itself and from here; it minds the first.
        for number in FORWARDED:
            signal.signal(number, lambda caught, _: os.kill(child, caught))
        status = os.waitpid(child, 0)[1]
    finally:
        os.write(pot, tokens)
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def take(pot: int, most: int) -> bytes:
    """Up to so many tokens, those that are there."""
    # A description of its own: others' must go on waiting.
    os.set_blocking(pot, False)
    try:
        return os.read(pot, most)
    except BlockingIOError:
        return b""


def become(real: str, words: list[str]) -> NoReturn:
    """In the child: be ninja, and die with the process that holds its tokens."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.execv(real, words)
    finally:
        os._exit(127)


if __name__ == "__main__":
    main(os.path.basename(sys.argv[0]), sys.argv[1:])
