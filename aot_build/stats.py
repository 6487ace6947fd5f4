"""What the cache and the last build hold, by kernel family."""

import contextlib
import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from aot_build import snapshot
from aot_build.errors import InputError
from aot_build.opening import load_settings
from aot_build.request import Request
from aot_build.store.log import BuildLog


@dataclass(frozen=True, slots=True)
class Stats:
    """Sizes in bytes, times in seconds."""

    cache_dir: str
    blobs: int
    blob_bytes: int
    results: int
    set_aside: int
    kernels: dict[str, dict[str, float]] = field(default_factory=dict)
    """Kernel -> variants, built, hits of the last build, seconds to compile them all."""

    def lines(self) -> list[str]:
        """For people."""
        size = f"{self.blob_bytes / 2**20:.1f} MiB"
        found = [f"cache {self.cache_dir}: {self.results} results, {self.blobs} blobs, {size}"]
        if self.set_aside:
            found.append(f"  {self.set_aside} damaged files were set aside")
        for name, row in self.kernels.items():
            found.append(
                f"{name}: {row['variants']:.0f} variants, {row['hits']:.0f} hits and "
                f"{row['built']:.0f} built the last time, {row['seconds']:.1f} s to compile"
            )
        return found


def stats(project: Path) -> Stats:
    """Look at a project's cache and build log. Raises InputError for wrong settings, or none."""
    settings, _ = load_settings(Request(project=os.path.realpath(project)))
    if settings is None:
        raise InputError(
            "nothing is declared",
            {"file": Path(project, "pyproject.toml")},
            "add a table [tool.aot-build] with kernels",
        )
    cache = settings.cache_dir
    blobs, blob_bytes = _count(cache / "cas-v1")
    return Stats(
        cache_dir=str(cache),
        blobs=blobs,
        blob_bytes=blob_bytes,
        results=_count(cache / "actions-v1")[0],
        set_aside=_count(cache / "set-aside")[0],
        kernels=_kernels(BuildLog(Path(project, *snapshot.FOLDER, "log-v1"))),
    )


def _count(folder: Path) -> tuple[int, int]:
    count = size = 0
    for root, _, names in os.walk(folder):
        for name in names:
            # A build may be writing, and take its temporary files away, at the same time.
            with contextlib.suppress(OSError):
                size += os.stat(os.path.join(root, name)).st_size
                count += 1
    return count, size


def _kernels(log: BuildLog) -> dict[str, dict[str, float]]:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, record in log.all().items():
        row = found[name.partition("|")[0]]
        row["variants"] += 1
        row["hits" if record.decision == "hit" else "built"] += 1
        row["seconds"] += record.seconds  # type: ignore[assignment]
    return {
        kernel: {name: float(row[name]) for name in ("variants", "hits", "built", "seconds")}
        for kernel, row in sorted(found.items())
    }
