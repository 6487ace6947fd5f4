"""Very many edits at random, over all cores; what fails is shortened and printed.

    python -m tests.property.truth --edits 1000000 --seed 7

The same seed makes the same edits, whatever the number of processes.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.property.truth.edits import Edit
from tests.property.truth.engine import Engine, InProcess
from tests.property.truth.harness import NAMES, Harness, Tally, run
from tests.property.truth.project import Site
from tests.property.truth.recorder import Recorder, make_recorder

STEPS = 40
"""Edits of one project, before the next one begins from scratch."""
CHOICES = 12
CLEAN_EVERY = 60
TOLD_SECONDS = 30.0


class Trial:
    """Runs lists of edits, each from scratch, in a folder that is its own."""

    def __init__(self, folder: Path, engine: Engine, names: Sequence[str] = NAMES) -> None:
        self.folder = folder
        self.names = tuple(names)
        self.tally = Tally()
        self._engine = engine
        self._recorder: Recorder = make_recorder(folder / "recorder")
        self._sites = 0

    def carry_out(self, edits: Sequence[Edit]) -> None:
        """Raises Stale, Needless."""
        self._sites += 1
        root = self.folder / f"site{self._sites}"
        harness = Harness(Site(root, self._recorder), self._engine, clean_every=CLEAN_EVERY)
        try:
            run(harness, edits)
        finally:
            self.tally.add(harness.tally)
            shutil.rmtree(root, ignore_errors=True)

    def failure(self, edits: Sequence[Edit]) -> Exception | None:
        """What comes of some edits, if anything does."""
        try:
            self.carry_out(edits)
        except Exception as error:
            return error
        return None

    def edits(self, seed: str) -> list[Edit]:
        """A list of edits at random."""
        chosen = random.Random(seed)
        pick = lambda: chosen.randrange(CHOICES)  # noqa: E731
        return [Edit(chosen.choice(self.names), pick(), pick()) for _ in range(STEPS)]

    def shortened(self, edits: list[Edit], kind: type[Exception]) -> list[Edit]:
        """A shorter list that fails likewise: none of its edits can be spared."""

        def fails(some: Sequence[Edit]) -> bool:
            return isinstance(self.failure(some), kind)

        size = len(edits) // 2
        while size:
            at = 0
            while at < len(edits):
                fewer = edits[:at] + edits[at + size :]
                if fails(fewer):
                    edits = fewer
                else:
                    at += size
            size //= 2
        for at, was in enumerate(edits):
            for plainer in (Edit(was.name), Edit(was.name, was.a), Edit(was.name, 0, was.b)):
                if plainer != edits[at] and fails([*edits[:at], plainer, *edits[at + 1 :]]):
                    edits[at] = plainer
                    break
        return edits


def told(edits: Sequence[Edit], error: Exception | None) -> str:
    """A failing list as text that can be pasted into a test."""
    lines = [f"    Edit({each.name!r}, {each.a}, {each.b})," for each in edits]
    return "\n".join(["[", *lines, "]", f"{type(error).__name__}: {error}"])


def work(seed: int, share: int, shares: int, edits: int) -> int:
    """One process's share. Gives the number of failing lists."""
    folder, engine = Path(tempfile.mkdtemp(prefix="truth-")), InProcess()
    failed, began, last = 0, time.monotonic(), 0.0
    try:
        trial = Trial(folder, engine)
        for number in _numbers(share, shares, edits):
            chosen = trial.edits(f"{seed}/{number}")
            error = trial.failure(chosen)
            if error is not None:
                failed += 1
                short = trial.shortened(chosen, type(error))
                print(f"seed {seed}/{number}:\n{told(short, trial.failure(short))}", flush=True)
            now = time.monotonic() - began
            if now - last > TOLD_SECONDS:
                last = now
                rate = trial.tally.edits / now
                print(f"share {share}: {trial.tally.edits} edits, {rate:.1f}/s", flush=True)
        print(f"share {share}: done, {failed} failed, {trial.tally}", flush=True)
    finally:
        engine.close()
        shutil.rmtree(folder, ignore_errors=True)
    return failed


def _numbers(share: int, shares: int, edits: int) -> Iterator[int]:
    return iter(range(share, -(-edits // STEPS), shares))


def main() -> int:
    """Exit status 0 where nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.property.truth", description=__doc__)
    parser.add_argument("--edits", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--shares", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--share", type=int, help="carry out this share alone")
    given = parser.parse_args()
    if given.share is not None:
        return int(work(given.seed, given.share, given.shares, given.edits) > 0)
    print(f"seed {given.seed}: {given.edits} edits in {given.shares} processes", flush=True)
    words = ["--edits", given.edits, "--seed", given.seed, "--shares", given.shares]
    command = [sys.executable, "-m", "tests.property.truth", *map(str, words), "--share"]
    shares = [subprocess.Popen([*command, str(n)]) for n in range(given.shares)]
    failed = [share.wait() for share in shares]
    return int(any(failed))
