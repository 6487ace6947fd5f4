"""Processes: who dies with whom, who is whose child, and how to be rid of a whole tree.

Linux has all of it (prctl(2), pidfd_open(2), proc(5)). Elsewhere what is missing is left out, and
those who rely on it fall back to the end of file of a socket that they share.
"""

import contextlib
import ctypes
import functools
import os
import select
import signal
import sys
import time
from collections.abc import Sequence

_SET_PDEATHSIG = 1
_SET_CHILD_SUBREAPER = 36
_GET_CHILD_SUBREAPER = 37
LOOK_SECONDS = 0.5
"""How often a process is looked for that cannot be waited for."""
GRACE_SECONDS = 1.5
"""How long a process may take to clean up once nobody waits for it."""


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def become_subreaper(wanted: bool = True) -> bool:
    """Whether orphaned descendants now become children of this process, and not of init.

    It holds for the whole process and is not inherited by a fork.
    """
    if sys.platform != "linux":
        return False
    unused = ctypes.c_ulong(0)
    state = ctypes.c_ulong(int(wanted))
    return bool(_libc().prctl(_SET_CHILD_SUBREAPER, state, unused, unused, unused) == 0)


def is_subreaper() -> bool:
    """Whether `become_subreaper` was called in this process."""
    if sys.platform != "linux":
        return False
    state, unused = ctypes.c_int(0), ctypes.c_ulong(0)
    _libc().prctl(_GET_CHILD_SUBREAPER, ctypes.byref(state), unused, unused, unused)
    return bool(state.value)


def die_with_parent(signum: signal.Signals, parent: int) -> None:
    """Receive `signum` when `parent` dies; exit at once where it already has.

    The kernel sends it when the *thread* that started this process ends, and forgets it on fork.
    """
    if sys.platform == "linux":
        unused = ctypes.c_ulong(0)
        _libc().prctl(_SET_PDEATHSIG, ctypes.c_ulong(signum), unused, unused, unused)
    if os.getppid() != parent:
        os._exit(1)


def flush_c_streams() -> None:
    """Write out what C code of this process printed: `os._exit` would drop it."""
    _libc().fflush(None)


def open_pidfd(pid: int) -> int | None:
    """A descriptor that is readable once the process has ended; the caller closes it.

    None where the system has no pidfds, or keeps them from this process (sandboxes answer with
    ENOSYS or EPERM): that says nothing about the process. Raises ProcessLookupError where no such
    process is left.
    """
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:
        return None


def threads() -> int:
    """How many threads this process has, those that C code started included."""
    if sys.platform != "linux":
        import threading

        return threading.active_count()
    return len(os.listdir("/proc/self/task"))


def children(pid: int) -> list[int]:
    """The direct children of a process, ended ones that nobody waited for included.

    A child that starts or ends meanwhile may be left out: ask again after what you did.
    """
    if not _lists_children():
        return [child for child, parent in _parents() if parent == pid]
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            # A thread may end between the two calls; its children are then another one's.
            with (
                contextlib.suppress(OSError),
                open(f"/proc/{pid}/task/{task}/children", "rb", buffering=0) as stream,
            ):
                found += map(int, stream.readall().split())
    return found


def descendants(pid: int) -> list[int]:
    """Everything below a process, parents before their children."""
    found = children(pid)
    for child in found:
        found += children(child)
    return found


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None where it is gone or not told."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            # The name, in parentheses, may itself hold spaces and parentheses.
            return int(stream.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return None


def oom_score(pid: int) -> int | None:
    """How much the kernel prefers to kill it for lack of memory, -1000 to 1000; None: not told."""
    try:
        with open(f"/proc/{pid}/oom_score_adj", "rb", buffering=0) as stream:
            return int(stream.readall())
    except OSError:
        return None


def set_oom_score(score: int) -> None:
    """Set it for this process and what it will start. Anyone may raise it."""
    with (
        contextlib.suppress(OSError),
        open("/proc/self/oom_score_adj", "wb", buffering=0) as stream,
    ):
        stream.write(b"%d" % score)


def kill(pid: int, signum: signal.Signals = signal.SIGKILL) -> None:
    """Signal a process; nothing happens where it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)


def kill_tree(pid: int) -> None:
    """Kill a process, its group where it leads one, and all descendants, whatever their session.

    What a descendant starts meanwhile is left to whoever inherits it.
    """
    below = descendants(pid)
    with contextlib.suppress(OSError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
    for each in (pid, *below):
        with contextlib.suppress(PermissionError):
            kill(each)


@functools.cache
def _lists_children() -> bool:
    """Whether the kernel was built with CONFIG_PROC_CHILDREN."""
    return os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children")


def _parents() -> list[tuple[int, int]]:
    """Every process with its parent."""
    if sys.platform != "linux":
        # Not ps(1): it would be a child itself, and whoever waits for there to be none waits on.
        import psutil

        return [(each.pid, each.info["ppid"] or 0) for each in psutil.process_iter(["ppid"])]
    return [(int(name), _parent(name)) for name in os.listdir("/proc") if name.isdigit()]


def _parent(name: str) -> int:
    try:
        with open(f"/proc/{name}/stat", "rb") as stream:
            return int(stream.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def watch_processes(pids: Sequence[int]) -> None:
    """End this process, and all that it started, as soon as one of these ends.

    The first is whoever asked for the work. Where another one goes first (the front end behind
    it), the asking process is ended too: it would work on for nobody. Numbers below 1 name no
    process and are left out. A process that handles SIGTERM gets one, and `GRACE_SECONDS` to keep
    what it has and clean up. Sources: pidfd_open(2); where that is refused, each process is looked
    for every `LOOK_SECONDS`.
    """
    import threading

    asking = next(iter(pids), 0)
    # A process that is our parent now is gone once we have another one: no number can mislead.
    parent = os.getppid()
    poll = select.poll()
    looked_for: list[int] = []
    watched = [pid for pid in pids if pid >= 1]
    try:
        for pid in watched:
            descriptor = open_pidfd(pid)
            if descriptor is None:
                looked_for.append(pid)
            else:
                poll.register(descriptor, select.POLLIN)
    except ProcessLookupError:
        _end_all(asking)

    def watch() -> None:
        patience = LOOK_SECONDS * 1000 if looked_for else None
        while not poll.poll(patience) and not any(_is_gone(pid, parent) for pid in looked_for):
            pass
        _end_asking(asking)
        if callable(signal.getsignal(signal.SIGTERM)):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(GRACE_SECONDS)
        _end_all(asking)

    if watched:
        threading.Thread(target=watch, daemon=True, name="watch").start()


def _is_gone(pid: int, parent: int) -> bool:
    """Whether a process has ended; `parent` is the one that this process had at first."""
    if pid == parent:
        return os.getppid() != parent
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        # It is there, and somebody else's.
        return False
    return False


def _end_all(asking: int) -> None:
    """The tree below this process, then the one that asked, then this process itself."""
    for child in children(os.getpid()):
        kill_tree(child)
    _end_asking(asking)
    for child in children(os.getpid()):
        kill_tree(child)
    os._exit(130)


def _end_asking(asking: int) -> None:
    """The one that asked, where it is there still, and what else it started."""
    if asking >= 1 and os.getppid() == asking:
        for other in children(asking):
            if other != os.getpid():
                kill_tree(other)
        kill(asking)
