"""What a finished action was seen to read: who owns it, and whether it held while it was read."""

import contextlib
import dataclasses
import os
import stat
from collections.abc import Iterable, Iterator, Sequence, Set

from aot_build.core.action import STAGE, Action
from aot_build.core.result import Failure
from aot_build.core.trace import Trace
from aot_build.core.trespass import RUNS, Trespass
from aot_build.core.work import WorkReport
from aot_build.events import Notice
from aot_build.files import unchanged
from aot_build.toolchains.distributions import UNOWNED
from aot_build.workspace import Workspace

SHOWN = 10
"""Paths in one message."""


def inputs_held(space: Workspace, action: Action, trace: Trace, since_ns: int) -> bool:
    """Whether what the action read is what its key says: nothing was edited meanwhile.

    `since_ns` is when it started (Unix time). Each file that did not hold is told once a build.
    """
    named = [path for path, _ in action.inputs if not path.startswith(STAGE)]
    declared = [space.roles.decode(path) for path in named]
    files = [*space.closures.inputs(trace), *declared]
    changed = [p for p in files if not space.index.held_since(p, since_ns)]
    looked_at, listed, missing = (
        set(map(space.roles.decode, paths))
        for paths in (trace.present, trace.listings, trace.missing)
    )
    changed += [p for p in missing if os.path.lexists(p)]
    changed += [p for p in looked_at if not _looked_held(p, missing, since_ns)]
    changed += [p for p in listed if not unchanged(p, since_ns)]
    project = str(space.settings.project)
    changed += _led_elsewhere((*files, *looked_at, *listed), project, since_ns)
    for path in sorted({*changed} - space.edited):
        space.edited.add(path)
        space.emit(Notice(f"{path} was edited during the build: its results are not kept"))
    return not changed


def fully_known(space: Workspace, kernel: str, report: WorkReport) -> bool:
    """Whether all that the action read is known; where it is not, the user is told."""
    if report.gap:
        text = f"{kernel}: what it read is not fully known ({report.gap}): its result is not kept"
        space.emit(Notice(text))
    return not report.gap


def tell_trespasses(
    space: Workspace, kernel: str, trespasses: Sequence[Trespass]
) -> Failure | None:
    """Report what an action touched that it has no business with, each once a build; a failure
    where settings are strict."""
    if space.settings.strict and trespasses:
        told = "\n".join(f"  {each}" for each in trespasses[:SHOWN])
        more = f"\n  and {len(trespasses) - SHOWN} more" if len(trespasses) > SHOWN else ""
        return Failure(
            "error",
            f"it leaves its project and its toolchain, and strict is set:\n{told}{more}\n"
            "hint: name the place in the kernel's include-dirs, flags or env, or bring it into the"
            " project",
        )
    for each in trespasses:
        if (kernel, each) not in space.trespasses:
            space.trespasses.add((kernel, each))
            where = "" if each.deed == RUNS else ", outside of the project and its toolchain"
            space.emit(Notice(f"{kernel} {each}{where}"))
    return None


def _looked_held(path: str, missing: Set[str], since_ns: int) -> bool:
    """Whether a path that was looked at has not changed since: a folder may, as its kind counts."""
    if os.path.isdir(path) or unchanged(path, since_ns):
        return True
    # A link that leads nowhere, as it did when it was looked at; or to itself.
    real = os.path.realpath(path)
    return os.path.islink(path) and (real in missing or os.path.islink(real))


def _led_elsewhere(paths: Iterable[str], project: str, since_ns: int) -> Iterator[str]:
    """Links on the way to the paths that were made since, and folders of the project that were
    moved: what is found there now may be an old file, and not the one that was read."""
    known = {os.sep, ""}
    rest = list(paths)
    while rest:
        path = rest.pop()
        while path not in known:
            known.add(path)
            with contextlib.suppress(OSError):
                found = os.lstat(path)
                if stat.S_ISLNK(found.st_mode):
                    leads = os.path.join(os.path.dirname(path), os.readlink(path))
                    rest.append(os.path.normpath(leads))
                    moved = found.st_ctime_ns >= since_ns
                else:
                    inside = stat.S_ISDIR(found.st_mode) and path.startswith(project + os.sep)
                    moved = inside and _was_moved(found, since_ns)
                if moved:
                    yield path
            path = os.path.dirname(path)


def _was_moved(folder: os.stat_result, since_ns: int) -> bool:
    """Whether it came to stand where it is; what comes to lie in a folder changes both times.

    Outside of the project a ctime says too little: overlayfs gives a folder a new one where it
    copies it for somebody who writes further down.
    """
    return folder.st_ctime_ns >= since_ns > folder.st_mtime_ns


def owned_trace(space: Workspace, report: WorkReport) -> Trace:
    """The trace, with the distributions that own the import packages it names.

    Modules that somebody put into site-packages by hand have no owner: they are files.
    """
    used: dict[str, set[str]] = {}
    files = set(report.trace.files)
    for package, paths in report.packages.items():
        found = space.distributions.used(package, map(space.roles.decode, paths))
        if not found:
            # The name itself is a question: it may be installed one day.
            used[f"{UNOWNED}{package}"] = set()
            files.update(p for p in paths if os.path.isfile(space.roles.decode(p)))
        for owner, names in found.items():
            used.setdefault(owner, set()).update(names)
    distributions = tuple((owner, tuple(sorted(used[owner]))) for owner in sorted(used))
    return dataclasses.replace(
        report.trace, distributions=distributions, files=tuple(sorted(files))
    )
