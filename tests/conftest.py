"""What every folder of tests shares: repeatable properties, and actions to play with."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from aot_build.core.action import Action

ROOT = Path(__file__).parents[1]

hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture
def action() -> Action:
    """A plain action: tests replace what they are about."""
    return Action(
        backend="cpp",
        stage="library",
        target="cpu",
        mode="release",
        params=(("row", (("BLOCK", 64), ("T", "float"))),),
        inputs=(("{project}/a.cpp", "0" * 32),),
        toolchain="1" * 32,
    )


@pytest.fixture
def fresh_python() -> Callable[..., str]:
    """Run a script in a process of its own, this checkout importable. Gives its stdout."""

    def run(script: str, *arguments: str | Path, status: int = 0, **env: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
