"""Builds, collections and damage in any order: what is found is whole and right, and what a
running build has found or published is found again until that build ends."""

import hashlib
import math
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aot_build.core.artifact import Artifact
from aot_build.core.result import ActionResult
from aot_build.core.trace import Trace
from aot_build.digest import key_digest
from aot_build.store.gc import Limits, collect
from aot_build.store.local import LocalStore

NUMBERS = st.integers(0, 3)
PICKS = st.integers(0, 11)
CONTENTS = st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=2)
LIMITS = st.sampled_from(
    [Limits(0), Limits(600), Limits(1500), Limits(None, 60.0), Limits(None, 86400.0), Limits()]
)


def key(number: int) -> str:
    return key_digest(("key", number))


def base(number: int) -> str:
    return key_digest(("base", number // 2))


def trace(number: int) -> Trace:
    return Trace(files=(f"{{project}}/{number % 3}.h",))


class Build:
    """One that runs: what it may rely on, and what it has not shown yet."""

    def __init__(self, root: Path) -> None:
        self.store = LocalStore(root)
        self.began = time.time()
        self.relies_on: set[int] = set()
        self.waiting: dict[int, ActionResult] = {}


class BuildsAndCollections(RuleBasedStateMachine):
    """`known` is what was shown under each number, ever; `blobs` the bytes behind each digest."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.root, self.place = self.folder / "cache", self.folder / "place"
        self.builds: list[Build] = []
        self.known: dict[int, list[ActionResult]] = {}
        self.blobs: dict[str, bytes] = {}
        # An old cache: what is used of it has to be marked.
        self.begins()
        for number, contents in enumerate(([b"a"], [b"b"], [b"a", b"c"])):
            self.publishes(0, number, contents)
        self.show(self.builds[0])
        self.ends(0)
        self.time_passes(2)

    def teardown(self) -> None:
        for build in self.builds:
            build.store.close()
        shutil.rmtree(self.folder)

    def build(self, pick: int) -> Build:
        return self.builds[pick % len(self.builds)]

    @precondition(lambda self: len(self.builds) < 4)
    @rule()
    def begins(self) -> None:
        self.builds.append(Build(self.root))

    @precondition(lambda self: self.builds)
    @rule(pick=PICKS)
    def ends(self, pick: int) -> None:
        """Or is killed: what it has not shown is lost."""
        self.builds.pop(pick % len(self.builds)).store.close()

    @precondition(lambda self: self.builds)
    @rule(pick=PICKS, number=NUMBERS, contents=CONTENTS)
    def publishes(self, pick: int, number: int, contents: list[bytes]) -> None:
        build, out = self.build(pick), self.folder / "out"
        out.mkdir(exist_ok=True)
        artifacts = []
        for place, content in enumerate(contents):
            (out / str(place)).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            self.blobs[digest] = content
            artifacts.append(Artifact(str(place), digest, len(content)))
        result = ActionResult(tuple(artifacts), {"n": len(contents)})
        build.store.publish(base(number), trace(number), key(number), result, out)
        build.waiting[number] = result

    @precondition(lambda self: self.builds)
    @rule(pick=PICKS)
    def shows(self, pick: int) -> None:
        self.show(self.build(pick))

    def show(self, build: Build) -> None:
        build.store.flush()
        for number, result in build.waiting.items():
            self.known.setdefault(number, []).append(result)
            build.relies_on.add(number)
        build.waiting.clear()

    @precondition(lambda self: self.builds)
    @rule(pick=PICKS, number=NUMBERS)
    def hits(self, pick: int, number: int) -> None:
        build, trace_id = self.build(pick), key_digest(trace(number))
        store = build.store
        leads = trace_id in store.traces(base(number)) and store.trace(trace_id) is not None
        if leads and store.result(key(number)) is not None:
            build.relies_on.add(number)

    @rule(limits=LIMITS)
    def collects(self, limits: Limits) -> None:
        done = collect(self.root, limits)
        assert not done.skipped and done.builds == len(self.builds)
        self.what_is_found_is_right()

    @rule(days=st.integers(1, 3))
    def time_passes(self, days: int) -> None:
        """For files that no running build has marked: its beginning cannot be moved back."""
        marked = min((build.began for build in self.builds), default=math.inf) - 3600
        for path in self.root.glob("*-v1/*/*"):
            then = path.stat().st_mtime
            if then < marked - 1:
                os.utime(path, (then - days * 86400.0,) * 2)

    @precondition(lambda self: not self.builds)
    @rule(pick=PICKS, how=st.sampled_from(["flip", "cut", "remove"]))
    def damage(self, pick: int, how: str) -> None:
        files = sorted(self.root.glob("*-v1/*/*"))
        if not files:
            return
        path = files[pick % len(files)]
        content = path.read_bytes()
        if how == "remove" or not content:
            path.unlink()
        elif how == "cut":
            path.write_bytes(content[:-1])
        else:
            path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        # Found out at once: what is found later is there.
        self.what_is_found_is_right()

    def what_is_found_is_right(self) -> None:
        reader = LocalStore(self.root, writable=False)
        for number in range(4):
            reader.traces(base(number)), reader.trace(key_digest(trace(number)))
            found = reader.result(key(number))
            assert found is None or found in self.known[number]
            for artifact in found.artifacts if found else ():
                if reader.fetch(artifact.digest, self.place):
                    assert self.place.read_bytes() == self.blobs[artifact.digest]
        reader.close()

    @invariant()
    def what_a_build_relies_on_is_there(self) -> None:
        for build in self.builds:
            for number in build.relies_on:
                found = build.store.result(key(number))
                assert found is not None
                assert all(build.store.fetch(a.digest, self.place) for a in found.artifacts)
                assert key_digest(trace(number)) in build.store.traces(base(number))
                path = self.root / "traces-v2" / key_digest(trace(number))[:2]
                assert (path / f"{key_digest(trace(number))}.t").exists()


TestBuildsAndCollections = pytest.mark.slow(BuildsAndCollections.TestCase)
TestBuildsAndCollections.settings = settings(max_examples=100, stateful_step_count=20)
