"""`aot-build gc`: which cache, which limits, and the report."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aot_build.errors import InputError
from aot_build.opening import load_settings
from aot_build.report.wording import count, volume
from aot_build.request import Request
from aot_build.settings.load import user_cache
from aot_build.store.gc import Amount, Collected, Limits, collect

DEFAULT = Limits(10 << 30, 90 * 86400.0)
"""Where no limit is given; where one is, the other does not apply."""
FOLDERS = ("cas-v1", "actions-v1", "CACHEDIR.TAG")


@dataclass(frozen=True, slots=True)
class Report:
    """What a collection came to, with what it was told."""

    cache_dir: str
    limits: Limits
    dry_run: bool
    collected: Collected

    def values(self) -> dict[str, Any]:
        """For programs."""
        given = {"cache_dir": self.cache_dir, "limits": asdict(self.limits)}
        return {**given, "dry_run": self.dry_run, **asdict(self.collected)}

    def lines(self) -> list[str]:
        """For people."""
        found = [f"cache {self.cache_dir}: {_limits(self.limits)}"]
        done = self.collected
        if done.skipped:
            return [*found, f"nothing was removed: {done.skipped}"]
        found.append(f"{'would remove' if self.dry_run else 'removed'} {_amount(done.removed)}")
        found.append(f"{'would keep' if self.dry_run else 'kept'} {_amount(done.kept)}")
        if done.builds:
            found.append(f"{count(done.builds, 'build')} at work")
        if done.in_use:
            found.append(f"{count(done.in_use, 'result')} beyond the limits may be in use: kept")
        if done.unread:
            found.append(f"{count(done.unread, 'result')} cannot be read: every blob was kept")
        return found


def gc(project: Path, cache_dir: str | None, limits: Limits, *, dry_run: bool = False) -> Report:
    """Collect the cache of a project, or the one that is named. Raises AotBuildError."""
    cache = _cache(project, cache_dir)
    if limits == Limits():
        limits = DEFAULT
    done = Collected(skipped="there is no cache yet")
    if cache.is_dir() and any(os.path.lexists(cache / name) for name in FOLDERS):
        done = collect(cache, limits, dry_run=dry_run)
    elif cache_dir is not None:
        hint = "name the folder that holds cas-v1 and actions-v1"
        raise InputError("this is no cache", {"cache-dir": cache}, hint)
    return Report(str(cache), limits, dry_run, done)


def _cache(project: Path, cache_dir: str | None) -> Path:
    """As a build finds it; where nothing is declared, the variable's or the user's."""
    if cache_dir is not None:
        return Path(cache_dir).expanduser().absolute()
    settings, _ = load_settings(Request(project=os.path.realpath(project)))
    if settings is not None:
        return settings.cache_dir
    named = os.environ.get("AOT_BUILD_CACHE_DIR")
    return Path(named).expanduser().absolute() if named else user_cache()


def _limits(limits: Limits) -> str:
    words = []
    if limits.max_bytes is not None:
        words.append(f"at most {volume(limits.max_bytes)}")
    if limits.max_seconds is not None:
        words.append(f"used in the last {_shown_age(limits.max_seconds)}")
    return "keep " + ", ".join(words) + (" (the default)" if limits == DEFAULT else "")


def _amount(amount: Amount) -> str:
    counts = [
        count(amount.results, "result"), count(amount.blobs, "blob"),
        count(amount.traces, "trace"), count(amount.leftovers, "leftover"),
    ]  # fmt: skip
    return f"{', '.join(counts)}: {volume(amount.bytes)}"


def _shown_age(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length and seconds % length == 0:
            return count(int(seconds // length), unit)
    return f"{seconds:g} seconds"
