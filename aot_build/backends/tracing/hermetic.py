"""What an action touched that it has no business with: reads outside the project, its toolchain and
what its declaration names; writes outside its own folders.

Such reads are in the trace like any other, so that nothing goes stale by them; but another machine
that shares the cache may not have them.
"""

import functools
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from aot_build.backends.tracing.observed import Observed
from aot_build.core.roles import Roles
from aot_build.core.trespass import READS, RUNS, WRITES, Trespass
from aot_build.core.work import WorkOrder

SYSTEM = (
    "/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr", "/nix/store", "/gnu/store",
    "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
)  # fmt: skip
"""Where systems have compilers, headers and libraries."""
OWN_FOLDER = str(Path(__file__).absolute().parents[2])
"""This package: in a checkout it lies anywhere."""
DEVICES = ("/dev", "/proc", "/sys")
"""What is read from them is no input."""
HARMLESS = ("ldconfig",)
"""Programs that are most often linked statically, and tell of the system alone."""
_OPTION = re.compile(r"^(?:@|-[A-Za-z]|-isystem|-iquote|-idirafter|-include)(?=/)")


def trespasses(
    order: WorkOrder, seen: Observed, variables: Iterable[str] = ()
) -> tuple[Trespass, ...]:
    """Sorted. A file that a variable names, one of those that were looked up, was named by whoever
    started the build."""
    own = nobodys(order)
    given = (*own, *order.roots.values(), *order.import_roots, *_declared(order))
    readable = (*_standing(), *_folders(given))
    writable = _folders(own)
    named = {word for name in variables for word in os.environ.get(name, "").split(os.pathsep)}
    read = (seen.read | seen.listed) - named
    found = [Trespass(READS, p) for p in read if not _inside(p, readable)]
    found += [Trespass(WRITES, p) for p in seen.written if not _inside(p, writable)]
    blind = {path for path in seen.untraceable if os.path.basename(path) not in HARMLESS}
    found += [Trespass(RUNS, path) for path in (*blind, *([""] if seen.strays else []))]
    return tuple(sorted(found))


def nobodys(order: WorkOrder) -> tuple[str, ...]:
    """Folders whose files are nobody's input: the action's own, what the build writes for it, and
    devices."""
    tools = (order.tools,) if order.tools else ()
    return order.out_dir, order.scratch, *tools, *DEVICES


def _folders(paths: Iterable[str]) -> tuple[str, ...]:
    """As they are named, and as they are."""
    named = {path.rstrip(os.sep) for path in paths if path}
    return tuple(folder + os.sep for folder in named | set(map(os.path.realpath, named)))


def _inside(path: str, folders: tuple[str, ...]) -> bool:
    return (path + os.sep).startswith(folders)


@functools.cache
def _standing() -> tuple[str, ...]:
    """Where systems, the interpreter and what is installed for it lie."""
    places = (sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values())
    packages = (path for path in sys.path if path.endswith("-packages"))
    home = os.path.dirname(os.path.dirname(os.path.realpath(sys.executable)))
    return _folders((*DEVICES, *SYSTEM, *places, *packages, home, OWN_FOLDER))


def _declared(order: WorkOrder) -> Iterator[str]:
    """Folders and files that the declaration names, in flags and variables as well; and where the
    compiler lies."""
    roles = Roles(order.roots)
    for word in order.action.command:
        if os.path.isabs(word):
            yield os.path.dirname(os.path.dirname(os.path.realpath(word)))
    values = (*order.action.params, *order.action.env, *order.action.inputs)
    for text in _texts(values):
        for word in re.split(r"[=,:;\s]", roles.expand(text)):
            path = _OPTION.sub("", word)
            if os.path.isabs(path) and path.strip(os.sep):
                yield os.path.normpath(path)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        # Programs and the like are long, and name no folder.
        if len(value) < 4096:
            yield value
    elif isinstance(value, Sequence):
        for each in value:
            yield from _texts(each)


_standing()  # Known before the first fork, it costs nothing afterwards.
