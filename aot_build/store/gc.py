"""Take out of a cache what was not used for longest, beside builds that run.

Results go first, then the trace lists, traces and blobs that no remaining result names: a result
is visible only while all that it names is there, wherever a collection is killed. What a running
build uses stays (leases.py): files are removed in short turns, each of which looks at the leases
anew and at every file once more.
"""

import math
import os
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from aot_build.errors import EnvironmentProblem
from aot_build.store.census import Census, File, Named, take_census, trace_ids
from aot_build.store.leases import REFRESH, WITHOUT_LOCKS, Leases

TURN = 0.02
"""Seconds for which builds that mark a file may have to wait."""
TURN_ALONE = 0.2
"""The same while no build runs: one that begins waits once."""
PAUSE = 0.002
"""Seconds between turns."""
TEMPORARY_SECONDS = 3600.0
SET_ASIDE_SECONDS = 7 * 86400.0
ADVICE_SECONDS = 90 * 86400.0
BUSY = "another gc is at work on this cache"


@dataclass(frozen=True, slots=True)
class Limits:
    """What may stay; None is no limit. Size counts results and their blobs, age the last use."""

    max_bytes: int | None = None
    max_seconds: float | None = None


@dataclass(slots=True)
class Amount:
    """Files by kind; `bytes` is the sum of their sizes."""

    results: int = 0
    blobs: int = 0
    traces: int = 0
    """Trace lists and traces."""
    leftovers: int = 0
    """Temporary files of killed builds, damaged files, what old projects learned."""
    bytes: int = 0

    def add(self, kind: str, file: File) -> None:
        """Count one file."""
        setattr(self, kind, getattr(self, kind) + 1)
        self.bytes += file.size


@dataclass(slots=True)
class Collected:
    """What a collection removed and kept; or, dry, what it would."""

    removed: Amount = field(default_factory=Amount)
    kept: Amount = field(default_factory=Amount)
    in_use: int = 0
    """Results that only stay because running builds may use them."""
    builds: int = 0
    """How many builds ran."""
    skipped: str = ""
    """Why nothing was done."""
    unread: int = 0
    """Results that cannot be read: as nobody knows what they name, no blob was removed."""


def collect(root: Path, limits: Limits, *, dry_run: bool = False) -> Collected:
    """Collect in one cache directory. Raises EnvironmentProblem where that cannot be done."""
    leases = Leases(root, writable=not dry_run)
    try:
        if leases.refused:
            raise OSError(leases.refused)
        if not dry_run and not leases.collect():
            return Collected(skipped=BUSY)
        return _Collection(root, limits, leases, dry_run).run()
    except OSError as error:
        fields = {"cache": root, "error": error}
        raise EnvironmentProblem("the cache cannot be collected", fields) from error
    finally:
        leases.close()


class _Collection:
    def __init__(self, root: Path, limits: Limits, leases: Leases, dry_run: bool) -> None:
        self._root = root
        self._limits = limits
        self._leases = leases
        self._dry_run = dry_run
        self._done = Collected()
        self._turn = ExitStack()
        self._turn_ends = 0.0
        self._began_ns = leases.now_ns()
        self._used_since = math.inf
        """Files as young as this are in use: the oldest lease ever seen counts, as what it marked
        may be named by a result that appeared since the census."""

    def run(self) -> Collected:
        with self._turn:
            self._take_turn()  # Which builds run is known before what there is.
            self._end_turn()
            census = take_census(self._root)
            kept = self._results(census)
            self._done.unread = len(census.unread)
            self._traces(census, kept)
            self._blobs(census, kept)
            self._leftovers(census)
        return self._done

    def _results(self, census: Census) -> list[Named]:
        """Remove results, the least recently used first; those that stay."""
        kept: list[Named] = []
        names = Counter(digest for result in census.results for digest in result.blobs)
        sizes = {digest: file.size for digest, file in census.blobs.items()}
        total = sum(result.file.size for result in census.results)
        total += sum(sizes.get(digest, 0) for digest in names)
        for result in sorted(census.results, key=_last_use):
            lost = not result.blobs <= census.blobs.keys()
            if not (lost or self._beyond(result.file, total)):
                kept.append(result)
            elif not self._remove("results", result.file):
                self._done.in_use += 1
                kept.append(result)
            else:
                names.subtract(result.blobs)
                free = (sizes.get(digest, 0) for digest in result.blobs if not names[digest])
                total -= result.file.size + sum(free)
        for file in census.damaged:
            self._remove("results", file)
        for result in kept:
            self._done.kept.add("results", result.file)
        return kept

    def _beyond(self, file: File, total: int) -> bool:
        """Whether the limits have a result of this age go, while there are `total` bytes."""
        size, seconds = self._limits.max_bytes, self._limits.max_seconds
        too_much = size is not None and total > size
        return too_much or (seconds is not None and self._older(file, seconds))

    def _traces(self, census: Census, kept: list[Named]) -> None:
        """Remove the trace lists that lead to no result, then the traces that are in no list."""
        known = {result.base_key for result in kept}
        # Results of an older version do not say what leads to them.
        unknown = "" in known or bool(census.unread)
        used: set[str] = set()
        for name, file in census.lists.items():
            if not self._removed_unless(unknown or name in known, "traces", file):
                used.update(trace_ids(file))
        for name, file in census.traces.items():
            self._removed_unless(unknown or name in used, "traces", file)

    def _blobs(self, census: Census, kept: list[Named]) -> None:
        named = frozenset[str]().union(*(result.blobs for result in kept))
        for name, file in census.blobs.items():
            self._removed_unless(bool(census.unread) or name in named, "blobs", file)

    def _leftovers(self, census: Census) -> None:
        advice = self._limits.max_seconds or ADVICE_SECONDS
        for files, seconds in (
            (census.temporary, TEMPORARY_SECONDS),
            (census.set_aside, SET_ASIDE_SECONDS),
            (census.advice, advice),
        ):
            for file in files:
                self._removed_unless(not self._older(file, seconds), "leftovers", file)

    def _removed_unless(self, named: bool, kind: str, file: File) -> bool:
        """Remove what nothing names; what was marked since this began may be named by now."""
        gone = not named and self._remove(kind, file, self._began_ns)
        if not gone:
            self._done.kept.add(kind, file)
        return gone

    def _older(self, file: File, seconds: float) -> bool:
        return file.used_ns < self._began_ns - seconds * 1e9

    def _remove(self, kind: str, file: File, used_since: float = math.inf) -> bool:
        """Remove a file unless it was used since then, or by a build that runs; is it gone?"""
        if time.monotonic() > self._turn_ends:
            self._end_turn()
            self._take_turn()
        try:
            used_ns = os.stat(file.path, follow_symlinks=False).st_mtime_ns
            if used_ns != file.used_ns or used_ns >= min(used_since, self._used_since):
                return False
            if not self._dry_run:
                os.unlink(file.path)
        except FileNotFoundError:
            return True
        self._done.removed.add(kind, file)
        return True

    def _take_turn(self) -> None:
        """Keep builds from marking files for a while, and see which there are."""
        if not self._dry_run:
            self._turn.enter_context(self._leases.gate(exclusive=True))
        live = self._leases.live()
        self._done.builds = max(self._done.builds, len(live))
        since = [began - REFRESH * 1e9 if began else 0.0 for began in live]
        if self._leases.broken:
            since.append(self._began_ns - WITHOUT_LOCKS * 1e9)
        self._used_since = min([self._used_since, *since])
        self._turn_ends = time.monotonic() + (TURN if live else TURN_ALONE)

    def _end_turn(self) -> None:
        """Let builds have theirs."""
        self._turn.close()
        self._turn_ends = 0.0
        time.sleep(PAUSE)


def _last_use(result: Named) -> tuple[int, str]:
    return result.file.used_ns, result.file.path
