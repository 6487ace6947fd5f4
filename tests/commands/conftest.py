"""Small projects on disk, run through real setuptools; the build beside it only records."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from setuptools import Distribution
from setuptools._distutils import dir_util

from aot_build import frontend
from aot_build.commands import hook
from aot_build.errors import AotBuildError
from aot_build.events import Summary
from aot_build.layout import RUNTIME

PYPROJECT = """
[project]
name = "demo"
version = "1.0"

[tool.setuptools]
packages = ["demo"]

[tool.aot-build]
package = "demo"
targets = ["cpu"]
cache-dir = "cache"

[[tool.aot-build.kernels]]
name = "scale"
backend = "cpp"
source = "demo/scale.cpp"
configs = ["demo/scale.csv"]
include-dirs = ["demo/include"]
"""


class FakeBuild:
    started = True

    def __init__(self, driver: "FakeDriver") -> None:
        self._driver = driver
        self.package = ""

    def wait(self) -> Summary:
        self._driver.log.append("wait")
        if self._driver.error is not None:
            raise self._driver.error
        write_result(self._driver.result, self._driver.artifacts)
        if self._driver.edits:
            self._driver.edits.pop(0)(self._driver.result)
        self.package = "demo"
        return Summary()

    def stop(self) -> None:
        self._driver.log.append("stop")


class FakeDriver:
    """Stands in for the driver process: leaves the same result, remembers what it was asked."""

    def __init__(self, project: Path) -> None:
        self.result = project / "build" / "aot" / "demo" / "_aot"
        self.artifacts = {"scale/cpu/0a-scale.so": b"\x7fELF scale"}
        self.log: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.error: AotBuildError | None = None
        self.edits: list[Callable[[Path], None]] = []
        """What befalls the result after the first build, the second, and so on."""

    def start(self, project: str, **asked: Any) -> FakeBuild:
        self.log.append("start")
        self.asked.append({"project": project, **asked})
        return FakeBuild(self)


def write_result(folder: Path, artifacts: dict[str, bytes]) -> None:
    """A result as the driver leaves it: manifest, runtime module, blobs."""
    shutil.rmtree(folder, ignore_errors=True)
    variants = []
    for path, content in artifacts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        (folder / path).chmod(0o600)
        file = {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        row = {"target": "cpu", "row": {"T": "float"}, "metadata": {}, "toolchain": "7c"}
        variants.append({**row, "files": {path.rpartition("-")[2]: file}})
    manifest = {
        "version": 1,
        "package": "demo",
        "mode": "release",
        "producer": "aot-build 0.1.0",
        "toolchains": {"7c": {"name": "g++", "version": "12.2.0"}},
        "kernels": {"scale": {"backend": "cpp", "variants": variants}},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for name in RUNTIME:
        (folder / name).write_text("# the runtime\n")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a project `demo` with one kernel."""
    for name in ("AOT_BUILD_TARGETS", "AOT_BUILD_SUMMARY", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "demo" / "include").mkdir(parents=True)
    (tmp_path / "demo" / "__init__.py").write_text("")
    (tmp_path / "demo" / "scale.cpp").write_text('#include "scale.h"\n')
    (tmp_path / "demo" / "scale.h").write_text("")
    (tmp_path / "demo" / "scale.csv").write_text("T\nfloat\n")
    (tmp_path / "demo" / "include" / "tile.inc").write_text("")
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def driver(project: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """What `frontend.start` is replaced by."""
    fake = FakeDriver(project)
    monkeypatch.setattr(frontend, "start", fake.start)
    return fake


@pytest.fixture
def leave_result() -> Callable[[Path, dict[str, bytes]], None]:
    """Write a result into a folder, as the driver does."""
    return write_result


@pytest.fixture
def setup() -> Callable[..., Distribution]:
    """Run `setup.py ARGUMENTS` in the working directory, with keywords of `setup()`."""

    def run(*arguments: str, **attrs: Any) -> Distribution:
        # Each run has a process of its own elsewhere; distutils remembers the folders it made.
        dir_util.SkipRepeatAbsolutePaths.clear()
        words = {"script_name": "setup.py", "script_args": list(arguments)}
        dist = Distribution({**words, **attrs})
        hook.finalize(dist)
        dist.parse_config_files()
        dist.parse_command_line()
        dist.run_commands()
        return dist

    return run
