"""Bytes of one file as locks that the kernel drops with their process: open file description
locks, fcntl(2). What stands in the file does not matter."""

import fcntl
import os
import struct

_SETLK = getattr(fcntl, "F_OFD_SETLK", None)
_GETLK = getattr(fcntl, "F_OFD_GETLK", None)
_FLOCK = "hhqqi4x"
"""struct flock on 64-bit Linux: type, whence, start, length, pid."""
AVAILABLE = _SETLK is not None
"""Whether this system has them; file systems may still refuse."""


def lock(descriptor: int, kind: int, start: int) -> bool:
    """Lock a byte, or unlock it, by `kind` (F_RDLCK, F_WRLCK, F_UNLCK); never waits.

    False where somebody else has it. Raises OSError where the file takes no locks.
    """
    request = struct.pack(_FLOCK, kind, os.SEEK_SET, start, 1, 0)
    try:
        fcntl.fcntl(descriptor, _SETLK or 0, request)
    except (BlockingIOError, PermissionError):
        return False
    return True


def held(descriptor: int, start: int, length: int) -> tuple[int, int] | None:
    """Some locked bytes among these, locked by somebody else: first and number (0: to the end).

    Raises OSError where the file takes no locks.
    """
    request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    answer = fcntl.fcntl(descriptor, _GETLK or 0, request)
    kind, _, at, size, _ = struct.unpack(_FLOCK, answer)
    return None if kind == fcntl.F_UNLCK else (at, size)
