"""One result in a cache on disk."""

from hashlib import sha256
from pathlib import Path

import pytest

from aot_build.core.artifact import Artifact
from aot_build.core.result import ActionResult
from aot_build.core.trace import Trace
from aot_build.store.local import LocalStore

BASE, KEY, TRACE = "b" * 32, "c" * 32, Trace(files=("{project}/a.h",))


class Cache:
    """`out` is an output folder, as an action leaves it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "cache"
        self.out = root / "out"

    def left(self, content: bytes = b"the bytes of a kernel") -> ActionResult:
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "k.so").write_bytes(content)
        return ActionResult((Artifact("k.so", sha256(content).hexdigest(), len(content)),))

    def publish(self, store: LocalStore, result: ActionResult) -> None:
        store.publish(BASE, TRACE, KEY, result, self.out)
        store.flush()

    def published(self) -> tuple[LocalStore, ActionResult]:
        """A store as a later build opens it, and what an earlier one published."""
        result = self.left()
        self.publish(LocalStore(self.root), result)
        return LocalStore(self.root), result

    def blob(self, result: ActionResult) -> Path:
        digest = result.artifacts[0].digest
        return self.root / "cas-v1" / digest[:2] / digest

    def files(self) -> list[str]:
        return sorted(str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file())


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)
