"""What the cache and the last build hold, by kernel family."""

import contextlib
import json
import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from aot_build import snapshot
from aot_build.layout import MANIFEST, RESULT
from aot_build.opening import declared_settings
from aot_build.report.wording import count, volume
from aot_build.request import Request
from aot_build.store.leases import Leases
from aot_build.store.log import NAME as LOG
from aot_build.store.log import BuildLog

KINDS = {
    "results": "actions-v1",
    "traces": "traces-v2",
    "blobs": "cas-v1",
    "history": "history-v1",
    "preloads": "preloads-v1",
    "set_aside": "set-aside",
}
"""What a cache holds, and where."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Sizes in bytes, times in seconds."""

    cache_dir: str
    blobs: int
    blob_bytes: int
    results: int
    set_aside: int
    kernels: dict[str, dict[str, float]] = field(default_factory=dict)
    """Kernel -> variants, built, hits of the last build, seconds to compile them all, and bytes
    of their artifacts in the last result."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Kind of files in the cache -> their bytes."""
    live_builds: int = 0
    """How many builds use the cache just now."""

    def lines(self) -> list[str]:
        """For people."""
        held = f"{count(self.results, 'result')}, {count(self.blobs, 'blob')}"
        found = [f"cache {self.cache_dir}: {held}, {volume(self.blob_bytes)}"]
        if self.live_builds:
            found.append(f"  {count(self.live_builds, 'build')} at work")
        if self.set_aside:
            found.append(f"  set aside: {count(self.set_aside, 'damaged file')}")
        for name, row in self.kernels.items():
            variants, hits = count(int(row["variants"]), "variant"), count(int(row["hits"]), "hit")
            found.append(
                f"{name}: {variants}, {hits} and {row['built']:.0f} built the last time, "
                f"{row['seconds']:.1f} s to compile, {volume(row['bytes'])}"
            )
        return found


def stats(project: Path) -> Stats:
    """Look at a project's cache and build log. Raises InputError for wrong settings, or none."""
    settings, _ = declared_settings(Request(project=os.path.realpath(project)))
    cache = settings.cache_dir
    counts = {kind: _count(cache / folder) for kind, folder in KINDS.items()}
    folder = Path(project, *snapshot.FOLDER)
    leases = Leases(cache, writable=False)
    live = leases.live()
    leases.close()
    return Stats(
        cache_dir=str(cache),
        blobs=counts["blobs"][0],
        blob_bytes=counts["blobs"][1],
        results=counts["results"][0],
        set_aside=counts["set_aside"][0],
        kernels=_kernels(BuildLog(folder / LOG), _bytes(folder, settings.package)),
        sizes={kind: size for kind, (_, size) in counts.items()},
        live_builds=len(live),
    )


def _bytes(folder: Path, package: str) -> dict[str, int]:
    """Kernel -> bytes of its artifacts, by the manifests of the last results: that of builds of the
    project, and of requests that have folders of their own."""
    place = PurePath(*package.split("."), RESULT, MANIFEST)
    sizes: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for path in (*folder.glob(f"drivers/*/{place}"), folder / place):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            kernels: dict[str, Any] = json.loads(path.read_bytes())["kernels"]
            for name, kernel in kernels.items():
                files = (f for v in kernel["variants"] for f in v["files"].values())
                # A variant is the same file in each.
                sizes[name].update({f["path"]: f["size"] for f in files})
    return {name: sum(found.values()) for name, found in sizes.items()}


def _count(folder: Path) -> tuple[int, int]:
    number = size = 0
    for root, _, names in os.walk(folder):
        for name in names:
            # A build may be writing, and take its temporary files away, at the same time.
            with contextlib.suppress(OSError):
                size += os.stat(os.path.join(root, name)).st_size
                number += 1
    return number, size


def _kernels(log: BuildLog, sizes: dict[str, int]) -> dict[str, dict[str, float]]:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, record in log.all().items():
        if name.count("|") != 2:
            continue  # A stage, or a question: it serves variants.
        row = found[name.partition("|")[0]]
        row["variants"] += 1
        row["hits" if record.decision == "hit" else "built"] += 1
        row["seconds"] += record.seconds  # type: ignore[assignment]
    for kernel, row in found.items():
        row["bytes"] = sizes.get(kernel, 0)
    names = ("variants", "hits", "built", "seconds", "bytes")
    return {
        kernel: {name: float(row[name]) for name in names} for kernel, row in sorted(found.items())
    }
