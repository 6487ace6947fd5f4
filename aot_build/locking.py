"""A lock on a file, shared or exclusive, between processes: flock(2).

Where the system or the file system has no such lock, there is none: what it guards is checked by
digest anyway, and a build must not fail for it.
"""

import contextlib
import os
from collections.abc import Iterator
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], exclusive: bool) -> Iterator[None]:
    """Hold the lock inside; waits for it. The file is made where it is missing, and stays.

    It is gone with the process that holds it, however that ends; programs that are started inside
    do not inherit it. Taking it twice waits for ever, in one process too, unless both are shared.
    """
    descriptor = _opened(path, exclusive)
    try:
        if fcntl is not None and descriptor is not None:
            # ENOLCK, EOPNOTSUPP: a network file system without locks.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _opened(path: str | os.PathLike[str], exclusive: bool) -> int | None:
    """A descriptor, or None where the folder cannot be written to: nobody fills it, then."""
    if fcntl is None:
        return None
    try:
        os.makedirs(os.path.dirname(os.fspath(path)) or ".", exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        if exclusive:
            raise
        with contextlib.suppress(OSError):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return None
