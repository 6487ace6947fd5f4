"""The tracer's library, and a folder in which programs run under it."""

import os
import sys
from pathlib import Path

import pytest

from aot_build.backends.tracing import library
from aot_build.backends.tracing.library import Library
from tests.backends.tracing.traced import Tracer


@pytest.fixture(scope="session")
def traced_by(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The library, compiled once for all tests."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs LD_PRELOAD")
    built = library.build(tmp_path_factory.mktemp("library"), os.environ)
    assert built, built.reason
    return built


@pytest.fixture
def tracer(tmp_path: Path, traced_by: Library) -> Tracer:
    folder = tmp_path / "project"
    folder.mkdir()
    return Tracer(folder, traced_by)
