"""What every folder of tests shares: repeatable properties, and actions to play with."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from aot_build.core.action import Action
from aot_build.errors import EnvironmentProblem
from aot_build.toolchains.rocm import find_rocm

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

TOOLS: dict[str, Callable[[], object]] = {
    "compiler": lambda: shutil.which("g++") or shutil.which("clang++") or os.environ.get("CXX"),
    "nvcc": lambda: shutil.which("nvcc"),
    "torch": lambda: importlib.util.find_spec("torch"),
    "triton": lambda: importlib.util.find_spec("triton"),
    "flydsl": lambda: importlib.util.find_spec("flydsl") and _links_for_amd(),
}
"""What a marker says that a test needs, and whether it is here."""


def _links_for_amd() -> bool:
    try:
        return bool(find_rocm(os.environ).bitcode)
    except EnvironmentProblem:
        return False


def pytest_configure() -> None:
    """Be interruptible, as all that the tests start must be: a shell's background jobs are not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests whose tools are missing."""
    missing = [name for name, found in TOOLS.items() if not found()]
    for item in items:
        for name in missing:
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"needs {name}"))


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
