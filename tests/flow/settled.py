"""Projects that were built long enough ago for a snapshot to vouch for them."""

import subprocess
import sys
import time

from aot_build.request import Request

COOL = 2.2
"""Seconds after which no input is racy."""


def is_fresh(project, **asked) -> bool:
    """Ask as the command line does, in a process of its own."""
    shape = Request(str(project.path), **asked).shape
    code = (
        "import sys; from aot_build import snapshot; "
        f"sys.exit(snapshot.fresh({str(project.path)!r}, {shape!r}) is None)"
    )

    return subprocess.run([sys.executable, "-c", code], env=project.env, cwd="/").returncode == 0


def settle(project) -> None:
    project.build()
    time.sleep(COOL)
    project.build()
    assert is_fresh(project)
