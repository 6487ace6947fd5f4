"""The standard streams of a command, which may be closed, full, or read by nobody.

What cannot be shown must not change how a build ends: its exit status tells that.
"""

import errno
import io
import os
import sys
from typing import TextIO

REFUSALS = (errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC)
"""Why a stream that was opened takes no more, besides that nobody reads it."""


def make_lenient() -> None:
    """Escape what an ASCII stream cannot hold, such as the name of a variant."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def complain(text: object) -> None:
    """Print to standard error, where that takes it."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _silence(sys.stderr)


def answer(text: str) -> None:
    """Print what was asked for. A reader who went away misses it. Raises OSError: a full disk."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _silence(sys.stdout)


def settle() -> None:
    """What could not be written is not tried again when the interpreter ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _silence(stream)


def _silence(stream: TextIO) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
