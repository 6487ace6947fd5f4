"""What a job printed: a file that is cut where it is long, and whose last lines tell of an end."""

import os
import stat

KEPT_BYTES = 1 << 18
"""Of a longer file, this much of its start and as much of its end."""
LINES = 20
LINE_LENGTH = 500
_TAIL_BYTES = 1 << 15


def settle(path: str) -> None:
    """Cut a file whose job has ended to its start and its end, with a line that says so.

    Nothing happens where there is no such file: what a job printed is no reason to fail.
    """
    try:
        # The job may have put anything in its place: a link, a pipe that nobody writes to.
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_size > 2 * KEPT_BYTES:
            _cut(descriptor, found.st_size)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _cut(descriptor: int, size: int) -> None:
    end = os.pread(descriptor, KEPT_BYTES, size - KEPT_BYTES)
    note = f"\n[aot_build: {size - 2 * KEPT_BYTES} bytes are left out here]\n"
    os.ftruncate(descriptor, KEPT_BYTES)
    os.pwrite(descriptor, note.encode() + end, KEPT_BYTES)


def last_lines(path: str) -> str:
    """The last lines that say something, without a newline at the end; empty where none do."""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL_BYTES))
            text = stream.read(_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(line[:LINE_LENGTH] for line in lines[-LINES:])
