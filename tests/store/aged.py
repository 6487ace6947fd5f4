"""A cache whose files were used as long ago as a test says."""

import hashlib
import os
import time
from pathlib import Path

from aot_build.core.artifact import Artifact
from aot_build.core.result import ActionResult
from aot_build.core.trace import Trace
from aot_build.digest import key_digest
from aot_build.store.local import LocalStore

DAY = 86400.0


def publish(store: LocalStore, name: str, *contents: bytes) -> ActionResult:
    """A result under `key(name)`, with a base key and a trace of its own."""
    out = store.root.parent / "out"
    out.mkdir(exist_ok=True)
    artifacts = []
    for number, content in enumerate(contents):
        (out / str(number)).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        artifacts.append(Artifact(str(number), digest, len(content)))
    result = ActionResult(tuple(artifacts))
    store.publish(base(name), trace(name), key(name), result, out)
    store.flush()
    return result


def key(name: str) -> str:
    return key_digest(("key", name))


def base(name: str) -> str:
    return key_digest(("base", name))


def trace(name: str) -> Trace:
    return Trace(files=(f"{{project}}/{name}.h",))


def age(root: Path, seconds: float, under: str = "*-v[0-9]/*/*") -> None:
    """Have all files been used that long ago."""
    then = time.time() - seconds
    for path in root.glob(under):
        os.utime(path, (then, then))


def ago(path: Path) -> float:
    """Seconds since a file was used."""
    return time.time() - path.stat().st_mtime


def blob(root: Path, content: bytes) -> Path:
    digest = hashlib.sha256(content).hexdigest()
    return root / "cas-v1" / digest[:2] / digest


def holding(root: Path) -> list[str]:
    """Files of a cache, those that never go left out."""
    found = (str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
    return sorted(name for name in found if name not in ("CACHEDIR.TAG", "leases-v1", "locks-v1"))
