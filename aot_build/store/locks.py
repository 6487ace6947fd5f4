"""One run of an action among concurrent builds: a lock a base key, none of which leaves litter.

On Linux the locks are byte ranges of one file (open file description locks, fcntl(2)): they cost
2 us, and the kernel drops them with the process. Elsewhere filelock serves, one file for each of
256 shards.
"""

import fcntl
import os
from pathlib import Path

import filelock

from aot_build.store import ranges


class Locks:
    """The locks of one cache directory, as one build holds them. Never waits.

    Not every file system has locks (NFS without a lock service, FUSE): there each build takes what
    it asks for. Work may be done twice then, and is never wrong, as all writes are atomic.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._descriptor = -1
        self._shards: dict[str, filelock.BaseFileLock] = {}
        self._held: dict[str, str] = {}
        self.broken = ""
        """Why locks exclude nobody; empty while they do."""
        if ranges.AVAILABLE:
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                self._descriptor = os.open(root / "locks-v1", flags, 0o666)
            except OSError as error:
                # Somebody else's file; a disk without room for an empty one.
                self.broken = str(error)

    def acquire(self, key: str) -> bool:
        """Take the lock of a base key; False where another build holds it."""
        if key in self._held or (ranges.AVAILABLE and self._descriptor < 0):
            return True
        by_range = self._descriptor >= 0
        taken = self._range(key, fcntl.F_WRLCK) if by_range else self._shard(key)
        if taken:
            self._held[key] = key[:2]
        return taken

    def release(self, key: str) -> None:
        """Give a lock back. Does nothing where it is not held."""
        shard = self._held.pop(key, None)
        if shard is None:
            return
        if self._descriptor >= 0:
            self._range(key, fcntl.F_UNLCK)
        elif shard in self._shards and shard not in self._held.values():
            self._shards.pop(shard).release()

    def close(self) -> None:
        """Give everything back."""
        for key in list(self._held):
            self.release(key)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _range(self, key: str, kind: int) -> bool:
        try:
            return ranges.lock(self._descriptor, kind, int(key[:15], 16))
        except OSError as error:
            self.broken = f"{self._root / 'locks-v1'}: {error.strerror}"
            return True

    def _shard(self, key: str) -> bool:
        shard = key[:2]
        if shard in self._shards:
            return True
        lock = filelock.FileLock(self._root / "locks" / f"{shard}.lock", timeout=0)
        (self._root / "locks").mkdir(exist_ok=True)
        try:
            lock.acquire()
        except filelock.Timeout:
            return False
        except (OSError, NotImplementedError) as error:
            self.broken = str(error)
            return True
        self._shards[shard] = lock
        return True
