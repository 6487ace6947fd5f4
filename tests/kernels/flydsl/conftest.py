"""A process that compiles with FlyDSL, and runs what it lowered on the CPU."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def product() -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs a case of `products.py`."""
    roots = os.pathsep.join([str(ROOT), str(ROOT / "kernels"), *sys.path])
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("products.py"))],
        env={**os.environ, "PYTHONPATH": roots},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def run(**case: Any) -> dict[str, Any]:
        print(json.dumps(case), file=stdin, flush=True)
        found: dict[str, Any] = json.loads(stdout.readline())
        assert "error" not in found, found["error"]
        return found

    with process:
        yield run
        stdin.close()
