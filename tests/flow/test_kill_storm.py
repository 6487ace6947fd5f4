"""`kill -9` at random times, over and over: what finished is kept, and nobody is left."""

import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.flow.storms import ACTIONS, KINDS, SLOTS, Storm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs proc(5)"),
]
SEED = 20
KILLS = "AOT_TEST_KILLS"
"""Variable with the number of kills, for a storm that takes minutes."""


def storm_of(root: Path, seed: int = SEED) -> Storm:
    root.mkdir()
    return Storm(root, f"{root}-{secrets.token_hex(4)}", seed)


def rage(storm: Storm, kills: int) -> None:
    """Build until it succeeds, killing something at random times; then once again from nothing,
    until there were enough kills."""
    fronts = (storm.alone, storm.setuptools, storm.alone, storm.pip)
    tries = 0
    while storm.kills < kills or tries == 0:
        build = storm.start(fronts[tries % len(fronts)]())
        tries += 1
        while storm.kills < kills and build.poll() is None:
            kind = KINDS[storm.kills % len(KINDS)]
            before = len(storm.begun())
            if storm.strike(kind, build):
                _note_cost(storm, kind, build, before)
        build.wait(120)
        storm.check_quiet()
        if build.returncode == 0 and storm.published() == ACTIONS and storm.kills < kills:
            _start_anew(storm)


def _note_cost(storm: Storm, kind: str, build: "subprocess.Popen[bytes]", before: int) -> None:
    if kind == "worker":
        storm.in_flight += 1
    elif kind == "forkserver":
        storm.in_flight += SLOTS
    else:
        assert build.wait(60) != 0 or storm.published() == ACTIONS, storm.said()
        storm.check_quiet()
        begun = set(storm.begun())
        storm.in_flight += len(begun) - storm.published()
        storm.unpublished += len(storm.finished()) - storm.published()


def _start_anew(storm: Storm) -> None:
    storm.redone += len(storm.begun()) - ACTIONS
    storm.notes.write_text("")
    shutil.rmtree(storm.cache)
    shutil.rmtree(storm.project / "build")


def test_a_storm_of_kills(tmp_path: Path) -> None:
    kills = int(os.environ.get(KILLS, "30"))
    storm = storm_of(tmp_path / "storm")
    began = time.monotonic()
    rage(storm, kills)
    calm = storm_of(tmp_path / "calm")
    assert storm.wheel() == calm.wheel()
    storm.check_clean()
    redone = storm.redone + len(storm.begun()) - ACTIONS
    print(
        f"{storm.kills} kills in {time.monotonic() - began:.0f} s: {redone} redone, "
        f"{storm.in_flight} in flight, {storm.unpublished} of them finished"
    )
    assert redone <= storm.in_flight
