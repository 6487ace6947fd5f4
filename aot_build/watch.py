"""What a snapshot watches: every file, absence and variable that the finished build stood on."""

import contextlib
import itertools
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from aot_build import snapshot
from aot_build.events import Summary
from aot_build.files import Stat, is_racy, stat_row
from aot_build.materialize import ResultFolder
from aot_build.request import Request
from aot_build.workspace import Workspace

VARIABLES = (
    "PATH", "CXX", "CUDA_HOME", "CUDA_PATH", "NVCC_CCBIN", "PYTHONPATH", "VIRTUAL_ENV",
    "LD_LIBRARY_PATH", "ROCM_PATH",
)  # fmt: skip
"""What finds the toolchain."""
MANY = 16
"""Paths that must be absent below one folder: fewer are watched one by one."""


def keep_snapshot(
    workspace: Workspace,
    request: Request,
    summary: Summary,
    folder: ResultFolder,
    began_ns: int,
) -> None:
    """Remember a build without failures for the fast path; it began at that Unix time.

    There is none where an input is racy or changed since, or where the disk takes no more.
    """
    try:
        watched = _watched(workspace, began_ns)
    except OSError:
        return
    now = time.time_ns()
    # Some were looked at long before this moment: what changed since the build began is no proof.
    if any(is_racy(row, now) or _changed(row, began_ns) for row in watched.values()):
        return
    if workspace.index.racy & watched.keys():
        return
    traced = (name for trace in workspace.traces for name in trace.env)
    names = sorted({*VARIABLES, *workspace.obeyed.names, *traced})
    with contextlib.suppress(OSError):
        snapshot.write(
            request.project,
            request.shape,
            names,
            (workspace.settings.package, _as_answer(summary, workspace.left_out)),
            sorted(watched.items()),
            str(folder.path),
            folder.rows(),
        )


def _watched(workspace: Workspace, began_ns: int) -> dict[str, Stat]:
    """Each path once. Raises OSError."""
    rows = (_present(workspace), _absent(workspace), _traced_absent(workspace, began_ns))
    found: dict[str, Stat] = {}
    for path, row in itertools.chain.from_iterable(rows):
        # A folder that must be there may also be one whose names somebody has listed.
        if row not in (snapshot.PRESENT, snapshot.NO_LINK) or path not in found:
            found[path] = row
    return found


def _changed(row: Stat, since_ns: int) -> bool:
    return max(row[3], row[4]) >= since_ns


def _present(workspace: Workspace) -> Iterator[tuple[str, Stat]]:
    workspace.index.digest(str(workspace.settings.project / "pyproject.toml"))
    yield from workspace.index.rows().items()
    for path in (*_programs(workspace), *_own_code(), *_listings(workspace)):
        yield path, stat_row(path)
    for path in _looked_at(workspace):
        yield from _look(path)
    for path in workspace.distributions.files:
        # What RECORD lists and nobody installed must not appear, either.
        yield path, stat_row(path) if os.path.lexists(path) else snapshot.ABSENT
    # Who looked into the project's own folders has listed them, and is watched as such.
    own = set(map(str, workspace.settings.import_roots))
    for path in set(workspace.distributions.searched) - own:
        yield path, stat_row(path) if os.path.lexists(path) else snapshot.ABSENT
    for path in _where_tools_may_appear(workspace):
        yield path, stat_row(path) if os.path.lexists(path) else snapshot.ABSENT
    if workspace.cached:
        yield str(workspace.settings.cache_dir), snapshot.PRESENT


def _programs(workspace: Workspace) -> set[str]:
    """What toolchains are made of; also by the names by which it was found, links most often: one
    that leads to another compiler has left the file alone that it led to."""
    tools = workspace.toolchains.values()
    found = {path for tool in tools for path in tool.files}
    found |= {path for tool in tools for _, path, _ in tool.parts}
    # Of these another version would do, where a kernel is left out for the one that is there.
    return found | {
        p for problem in workspace.lacking.values() for p in getattr(problem, "files", ())
    }


def _where_tools_may_appear(workspace: Workspace) -> set[str]:
    """Folders in which installers put what kernels are left out for; the time of one changes."""
    if not workspace.lacking:
        return set()
    search = workspace.env.get("PATH", os.defpath).split(os.pathsep)
    own = set(map(str, workspace.settings.import_roots))
    return {os.path.abspath(place) for place in (*sys.path, *search)} - own


def _absent(workspace: Workspace) -> Iterator[tuple[str, Stat]]:
    found = workspace.settings
    for place in (found.project / "src", found.project / "setup.cfg", found.package_dir):
        yield str(place), snapshot.PRESENT if os.path.lexists(place) else snapshot.ABSENT
    for toolchain in workspace.toolchains.values():
        yield from ((path, snapshot.ABSENT) for path in toolchain.absent)
    for problem in workspace.lacking.values():
        yield from ((path, snapshot.ABSENT) for path in getattr(problem, "absent", ()))


def _traced_absent(workspace: Workspace, began_ns: int) -> Iterator[tuple[str, Stat]]:
    decode = workspace.roles.decode
    for folder, names in {(decode(f), n) for trace in workspace.traces for f, n in trace.absent}:
        if folder and not os.path.lexists(folder):
            # Such as that of an isolated build that is over: it comes before what may lie in it.
            yield folder, snapshot.ABSENT
            continue
        row = stat_row(folder or os.sep)
        if len(names) >= MANY and not _changed(row, began_ns) and not is_racy(row, time.time_ns()):
            # One look for all of them: what comes to lie in a folder changes its time.
            yield folder, row
            names = _below_what_is_there(folder, names)
        yield from ((f"{folder}/{name}", snapshot.ABSENT) for name in names)
    search = workspace.env.get("PATH", os.defpath).split(os.pathsep)
    for name in {name for trace in workspace.traces for name in trace.programs}:
        found = shutil.which(name, path=os.pathsep.join(search))
        for place in search:
            candidate = os.path.abspath(os.path.join(place, name))
            if found and candidate == os.path.abspath(found):
                yield candidate, stat_row(candidate)
                break
            if not os.path.lexists(candidate):
                yield candidate, snapshot.ABSENT


def _below_what_is_there(folder: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names that can appear without a change of the folder: below a folder in it that has come
    since, or where a link in it leads."""
    heads = {name.partition(os.sep)[0] for name in names if os.sep in name}
    there = {head for head in heads if os.path.lexists(f"{folder}/{head}")}
    return tuple(name for name in names if there and name.partition(os.sep)[0] in there)


def _listings(workspace: Workspace) -> set[str]:
    return {workspace.roles.decode(p) for trace in workspace.traces for p in trace.listings}


def _looked_at(workspace: Workspace) -> set[str]:
    return {workspace.roles.decode(p) for trace in workspace.traces for p in trace.present}


def _look(path: str) -> Iterator[tuple[str, Stat]]:
    """What tells that a look at a path would show the same: its kind, its size."""
    if os.path.islink(path):
        # Led elsewhere, it would be a new one.
        yield os.path.dirname(path), stat_row(os.path.dirname(path))
    elif os.path.isdir(path):
        yield path, snapshot.NO_LINK
    if os.path.isdir(path):
        # Of a folder it is the kind that counts: nobody has read what is in it.
        yield os.path.join(path, os.curdir), snapshot.PRESENT
    elif os.path.exists(path):
        yield path, stat_row(path)
    else:
        # A link that leads nowhere; or to itself.
        real = os.path.realpath(path)
        yield (real, snapshot.ABSENT) if not os.path.islink(real) else (path, snapshot.PRESENT)


def _own_code() -> Iterator[str]:
    """This package: an edit of it may change what any build does."""
    for folder, _, names in os.walk(Path(__file__).parent):
        yield from (os.path.join(folder, name) for name in names if name.endswith(".py"))


def _as_answer(summary: Summary, left_out: Sequence[str]) -> str:
    """What the fast path says: all hits, and again what is left out. `wall_s` is filled in by
    whoever says it."""
    calm = Summary(
        actions=summary.actions,
        hits=summary.actions,
        workers=summary.workers,
        helpers=summary.helpers,
        cache_dir=summary.cache_dir,
    )
    text = calm.to_json().replace('"wall_s": 0.0', f'"wall_s": {snapshot.WALL}')
    shown = ("".join(c if c.isprintable() else "?" for c in line) for line in left_out)
    return "\n".join((text, *shown))
