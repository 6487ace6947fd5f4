"""Several builds share one cache."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from aot_build.store import local
from aot_build.store.local import LocalStore

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
