"""How much memory a running tree of processes occupies, cheaply. Source: proc_pid_statm(5).

Without proc(5), psutil tells.
"""

import functools
import os
import re

from aot_build import process

_PAGE = os.sysconf("SC_PAGE_SIZE")
_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.M)


def tree_bytes(pid: int) -> int:
    """Bytes that a process and everything below it occupy; 0 where it is gone or not told."""
    return sum(map(_bytes, (pid, *process.descendants(pid))))


def _bytes(pid: int) -> int:
    """The proportional size of a fork of our interpreter, the private size of anything else.

    A fork shares what was imported before it, which only the page tables tell apart; they take
    milliseconds to walk. A compiler shares nothing but its program file.
    """
    if not _has_proc():
        return _told_by_psutil(pid)
    try:
        if os.readlink(f"/proc/{pid}/exe") == _own_program():
            with open(f"/proc/{pid}/smaps_rollup", "rb") as stream:
                found = _PSS.search(stream.read())
            if found:
                return int(found[1]) * 1024
        with open(f"/proc/{pid}/statm", "rb") as stream:
            _, resident, shared, *_ = map(int, stream.read().split())
        return max(0, resident - shared) * _PAGE
    except (OSError, ValueError):
        return 0


def _own_program() -> str:
    return os.readlink("/proc/self/exe")


@functools.cache
def _has_proc() -> bool:
    return os.path.exists("/proc/self/statm")


def _told_by_psutil(pid: int) -> int:
    """The unique size where the system tells it of this process, else the resident size."""
    # Imported here: whoever has proc(5) needs none of it.
    import psutil

    try:
        one = psutil.Process(pid)
        try:
            return int(one.memory_full_info().uss)
        except (psutil.AccessDenied, AttributeError):
            return int(one.memory_info().rss)
    except psutil.Error:
        return 0
