"""Several builds share one cache."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aot_build.store import gc, local
from aot_build.store.gc import Limits, collect
from aot_build.store.local import LocalStore
from tests.store.aged import DAY, age, key, publish

PUBLISH_MANY = """
import sys
from pathlib import Path
from aot_build.core.artifact import Artifact
from aot_build.core.result import ActionResult
from aot_build.core.trace import Trace
from aot_build.digest import blob_digest
from aot_build.store.local import LocalStore
root, mine = Path(sys.argv[1]), Path(sys.argv[2])
store = LocalStore(root / "cache")
mine.mkdir()
for number in range(40):
    (mine / "k").write_bytes(b"%d" % number * 1000)
    found = Artifact("k", blob_digest(mine / "k"), (mine / "k").stat().st_size)
    key = f"{number:032}"
    store.publish(key, Trace(), key, ActionResult((found,)), mine)
    if number % 10 == 9:
        store.flush()
"""


def test_four_builds_publish_the_same_at_once(cache: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PUBLISH_MANY, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(Path(local.__file__).parents[2])}
    builds = [subprocess.Popen([*command, str(tmp_path / f"out{n}")], env=env) for n in range(4)]
    assert [build.wait(30) for build in builds] == [0] * 4
    store = LocalStore(cache.root)
    for number in range(40):
        result = store.result(f"{number:032}")
        assert result is not None
        assert store.fetch(result.artifacts[0].digest, tmp_path / "place")
        assert (tmp_path / "place").read_bytes() == b"%d" % number * 1000
    assert not (store.root / "set-aside").exists()
    assert len([p for p in cache.files() if p.startswith("cas-v1")]) == 40
    assert not [p for p in cache.files() if p.endswith(".tmp")]


HIT_MANY = """
import sys, time
from pathlib import Path
from aot_build.store.local import LocalStore
root, keys = Path(sys.argv[1]), sys.argv[2:]
store = LocalStore(root / "cache")
found = {}
print("begun", flush=True)
for key in keys:
    time.sleep(0.001)
    result = store.result(key)
    if result is not None:
        found[key] = result
place = root / ("place-" + keys[0])
for _ in range(3):
    for key, result in found.items():
        assert store.result(key) == result, "a result that was found is gone"
        assert store.fetch(result.artifacts[0].digest, place), "and so is its blob"
print(len(found))
"""


def test_what_builds_find_while_all_is_collected_stays_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is old and nothing may stay: each file is marked or removed, never both."""
    monkeypatch.setattr(gc, "TURN", 0.0)  # A turn for each file: as many interleavings.
    store = LocalStore(tmp_path / "cache")
    names = [str(number) for number in range(150)]
    for name in names:
        publish(store, name, name.encode() * 50)
    store.close()
    age(tmp_path / "cache", 3 * DAY)
    keys = [key(name) for name in names]
    env = {**os.environ, "PYTHONPATH": str(Path(local.__file__).parents[2])}
    builds = []
    for order in (sorted(keys, reverse=True), sorted(keys)):
        command = [sys.executable, "-c", HIT_MANY, str(tmp_path), *order]
        pipe = subprocess.PIPE
        builds.append(subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True))
    for build in builds:
        assert build.stdout and build.stdout.readline() == "begun\n"
    while any(build.poll() is None for build in builds):
        collect(tmp_path / "cache", Limits(max_bytes=0))
    ends = [build.communicate(timeout=60) for build in builds]
    assert [build.returncode for build in builds] == [0, 0], ends
    assert not (tmp_path / "cache" / "set-aside").exists()
