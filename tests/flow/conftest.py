"""A small real project, built by the real driver, compiler and pool."""

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aot_build.backends.tracing import library
from aot_build.tracers import TRACERS
from tests.flow.consumers import NOT_SOURCES, ROOT, configured, run
from tests.flow.single import KERNEL

PYPROJECT = """\
[tool.aot-build]
package = "demo"
targets = ["cpu", "cpu:x86-64-v3"]

[[tool.aot-build.kernels]]
name = "scale"
backend = "cpp"
source = "demo/scale.cpp"
include-dirs = ["demo/first", "demo/include"]
configs = ["demo/scale.csv"]

[[tool.aot-build.kernels]]
name = "table"
backend = "python"
source = "demo.generate:make"
configs = [{ n = [1, 2, 3] }]
targets = ["cpu"]
"""
FILES = {
    "pyproject.toml": PYPROJECT,
    "demo/__init__.py": "",
    "demo/first/.keep": "",
    "demo/include/factor.h": "#define FACTOR 2\n",
    "demo/scale.cpp": (
        '#include "factor.h"\nextern "C" T scale(T x) { return x * FACTOR * BLOCK; }\n'
    ),
    "demo/scale.csv": "T,BLOCK\nfloat,32\ndouble,64\n",
    "demo/generate.py": (
        "from pathlib import Path\n\n"
        "def make(out_dir, target, n):\n"
        "    Path(out_dir, 'table.txt').write_text('x' * n)\n"
    ),
}
VARIANTS = 7


@dataclass
class Project:
    """A project folder and the environment that it is built in."""

    path: Path
    env: dict[str, str] = field(default_factory=dict)
    files = FILES
    """What it is made of."""
    variants = VARIANTS
    """How many kernels it declares, over all targets."""

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.path / name).read_text()
        assert old in text
        (self.path / name).write_text(text.replace(old, new))

    def command(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `aot-build`; the paths of the environment come first."""
        return subprocess.run(
            [sys.executable, "-m", "aot_build", *words, "--project", str(self.path)],
            env={**self.env, **env},
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def build(self, *words: str, **env: str) -> dict[str, Any]:
        """Build; the summary. Fails where the build does."""
        ended = self.command("build", "--json", *words, **env)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout.splitlines()[-1])

    @property
    def result(self) -> Path:
        return self.path / "build" / "aot" / "demo" / "_aot"

    def artifacts(self) -> dict[str, bytes]:
        """Relative name -> bytes of everything in the result folder."""
        found = (p for p in sorted(self.result.rglob("*")) if p.is_file())
        return {p.relative_to(self.result).as_posix(): p.read_bytes() for p in found}


@pytest.fixture(scope="session")
def tracers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a cache keeps of the tracer: compiled once, and not once a test."""
    folder = tmp_path_factory.mktemp("tracers") / TRACERS
    library.build(folder, os.environ)
    return folder


@pytest.fixture
def new_project(tmp_path: Path, tracers: Path) -> Callable[..., Project]:
    """Make the project in a folder of that name; all share one cache."""
    if tracers.exists():
        shutil.copytree(tracers, tmp_path / "cache" / TRACERS)

    def make(name: str = "one", files: Mapping[str, str] = FILES) -> Project:
        free = {k: v for k, v in os.environ.items() if not k.startswith("AOT_BUILD_")}
        env = {**free, "PYTHONPATH": str(ROOT), "AOT_BUILD_CACHE_DIR": str(tmp_path / "cache")}
        project = Project(tmp_path / name, env)
        project.write(files)
        return project

    return make


@pytest.fixture
def project(new_project: Callable[..., Project]) -> Project:
    """The project in a folder of its own."""
    return new_project()


@pytest.fixture
def python_kernel(new_project):
    """A project of one Python kernel, by the body of its function or by its whole module."""

    def made(body, name="made", more="", keys=""):
        source = body if "def make" in body else f"def make(out_dir, target, n):\n{body}"
        return new_project(
            name,
            {
                "pyproject.toml": KERNEL.format(
                    name="k", backend="python", source="demo.gen:make", more=more, keys=keys
                ),
                "demo/__init__.py": "",
                "demo/gen.py": source,
                "demo/table.txt": "one",
            },
        )

    return made


# Consumer projects (consumers.py)


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel of this checkout, the plugin alone."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    checkout = tmp_path_factory.mktemp("checkout") / "aot_build"
    shutil.copytree(ROOT, checkout, ignore=NOT_SOURCES)
    env = {**_without_settings(), "AOT_BUILD_TARGETS": "none"}
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, checkout, env=env)
    return folder


@pytest.fixture
def environment(wheelhouse: Path, tmp_path: Path) -> dict[str, str]:
    """Where pip and uv find that wheel, and kernels a cache of their own."""
    links = [str(wheelhouse), *configured("find-links")]
    index = configured("index-url")
    return {
        **_without_settings(),
        **({"UV_DEFAULT_INDEX": index[0]} if index else {}),
        "PIP_FIND_LINKS": " ".join(links),
        "PIP_NO_COMPILE": "1",  # of hundreds of modules in each isolated environment
        "UV_FIND_LINKS": ",".join(links),
        "AOT_BUILD_CACHE_DIR": str(tmp_path / "cache"),
    }


def _without_settings() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AOT_BUILD_", "PYTHON"))}
    # uv would build for the environment that the tests run in.
    kept.pop("VIRTUAL_ENV", None)
    return kept


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter in an environment of its own, with nothing installed."""
    venv.create(tmp_path / "venv", with_pip=False)
    return tmp_path / "venv" / "bin" / "python"
