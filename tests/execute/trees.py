"""A way to see whether anybody of a tree of processes is left."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from aot_build.execute.protocol import JobEnd

ENTRIES = Path(__file__).parent / "entries"
TAG = "AOT_TEST_TREE"

Run = Callable[..., JobEnd]


def tagged(value: str) -> list[int]:
    """Living processes with the tag in their environment, this one left out."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = Path("/proc", name, "environ").read_bytes()
            state = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if f"{TAG}={value}".encode() in environment.split(b"\0") and state not in "ZX":
            found.append(int(name))
    return [pid for pid in found if pid != os.getpid()]


def eventually(condition: Callable[[], bool], seconds: float = 3.0) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
