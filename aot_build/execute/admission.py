"""Lets work start while memory lasts: what it took before is held against what is free now."""

import time
from collections.abc import Callable, Mapping

from aot_build.execute.limits import memory_limit

GIB = 1 << 30
CAREFUL = 4 * GIB
"""What an action is expected to take of whose family nothing is known. Compilers of kernels have
been seen to take 2 to 12 GB: the first of a family ends, or grows, before more are let in."""
LEAST = 1 << 20
"""What was over before it was looked at took something, and is known to be small."""
SPARE = 0.05
"""Share of the room that stays free: for page tables, the driver and what measurements missed."""
LOOK_SECONDS = 0.05
"""Files of cgroups take a while to read; what started since is counted by what it will take."""
GROWTH = 1.1
"""The next variant of a family may take a little more than the greatest one so far."""


class Admission:
    """What the running tasks will still take, against the room. Numbers are bytes.

    `room` says what may be used from now on; `guess` is for families that were never measured.
    """

    def __init__(self, room: Callable[[], int] = memory_limit, guess: int | None = None) -> None:
        self._room = room
        self._guess = guess
        self._peaks: dict[str, int] = {}
        self._running: dict[int, int] = {}
        """Id -> what it is expected to take at most."""
        self._reserved = 0
        self._looked_at, self._seen = float("-inf"), 0

    def expected(self, family: str, own: int = 0, guess: int | None = None) -> int:
        """What a task will take: its own last peak, its family's greatest, or a guess."""
        measured = max(own, int(self._peaks.get(family, 0) * GROWTH))
        return measured or guess or self._guess or CAREFUL

    def fits(self, wanted: int, sizes: Mapping[int, int]) -> bool:
        """Whether a task that takes `wanted` may start beside those that run.

        `sizes` is what each of them takes now, as far as that is known. One task alone always
        may: if it does not fit, no order of things would make it fit.
        """
        if not self._running:
            return True
        room = self._left() * (1 - SPARE)
        if wanted + self._reserved <= room:
            return True
        # What they have taken already is missing from the room.
        taken = sum(min(size, self._running.get(id, 0)) for id, size in sizes.items())
        return wanted + self._reserved - taken <= room

    def start(self, id: int, wanted: int) -> None:
        """A task that takes `wanted` runs from now on."""
        self._running[id] = wanted
        self._reserved += wanted

    def end(self, id: int, family: str, peak: int, *, done: bool) -> None:
        """It has ended, and took this much at most; what was not `done` may have needed more."""
        self._reserved -= self._running.pop(id)
        self.learn(family, max(peak, LEAST) if done else peak)

    def learn(self, family: str, peak: int) -> None:
        """A task of the family has taken this much."""
        if peak > self._peaks.get(family, 0):
            self._peaks[family] = peak

    def _left(self) -> int:
        now = time.monotonic()
        if now - self._looked_at > LOOK_SECONDS:
            self._looked_at, self._seen = now, self._room()
        return self._seen
