"""A process of its own that interprets Triton kernels, a case a line."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aot_kernels

from tests.kernels.rows import ROOT

Run = Callable[[dict[str, Any]], dict[str, Any]]


@contextlib.contextmanager
def interpreting(script: Path) -> Iterator[Run]:
    """What runs a case by a script, which answers each line with one."""
    roots = os.pathsep.join([str(ROOT), str(Path(aot_kernels.__file__).parents[1]), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(script)],
        env={**os.environ, "PYTHONPATH": roots},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def run(case: dict[str, Any]) -> dict[str, Any]:
        print(json.dumps(case), file=stdin, flush=True)
        found: dict[str, Any] = json.loads(stdout.readline())
        return found

    with process:
        yield run
        stdin.close()
