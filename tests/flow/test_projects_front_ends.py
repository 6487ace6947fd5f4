"""Every front end that people build and install with, on the projects that differ for it."""

import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flow.consumers import (
    FRESH,
    Words,
    build,
    copy,
    install,
    pip,
    read_all,
    run,
    uv,
    wheel_of,
)

pytestmark = [pytest.mark.slow, pytest.mark.pip, pytest.mark.compiler, pytest.mark.network]

OLD_PIP = "23.2"
FOUND = {
    "cpp_only": ["scale cpu"] * 4,
    "pyproject_only": [
        *["scale cpu", "scale cpu:x86-64-v2"] * 5, *["scale cpu"] * 2, *["square cpu"] * 2
    ],
    "cuda_only": [*["scale cuda:sm_80"] * 3, *["scale cuda:sm_90a"] * 2],
    "triton_two_targets": [
        *["matmul cuda:sm_90a"] * 3, "matmul hip:gfx942",
        *["scale cuda:sm_90a", "scale hip:gfx942"] * 2,
    ],
}  # fmt: skip
"""Project -> what is to be found of it."""
LIGHT = ["cpp_only", "pyproject_only", pytest.param("cuda_only", marks=pytest.mark.nvcc)]
HEAVY = [pytest.param("triton_two_targets", marks=pytest.mark.triton)]
"""Their compilers take pip half a minute to install, in each build."""


def each(front_ends: list[str], projects: list[Any]) -> list[Any]:
    """Every pair, as parameters."""
    whole = [p if hasattr(p, "marks") else pytest.param(p) for p in projects]
    return [pytest.param(f, *p.values, marks=p.marks) for f in front_ends for p in whole]


@pytest.fixture(scope="session")
def old_pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with a pip of three years ago."""
    folder = tmp_path_factory.mktemp("old-pip")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", f"pip=={OLD_PIP}")
    assert run(python, "-m", "pip", "--version").startswith(f"pip {OLD_PIP} ")
    return python


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is compiled for one front end serves the next."""
    return tmp_path_factory.mktemp("shared-cache")


@pytest.fixture
def environment(environment: dict[str, str], shared_cache: Path) -> dict[str, str]:
    return {**environment, "AOT_BUILD_CACHE_DIR": str(shared_cache)}


@pytest.fixture
def front_end(request: pytest.FixtureRequest) -> Callable[[Path, Path], Words]:
    """By name: project and folder for the wheel -> command."""
    if request.param == "old pip":
        return pip(request.getfixturevalue("old_pip"))
    return {"pip": pip(), "build": build, "uv": uv}[request.param]


@pytest.mark.parametrize(
    ("front_end", "name"),
    [*each(["old pip", "build"], LIGHT), *each(["old pip"], HEAVY)],
    indirect=["front_end"],
)
def test_wheel(
    environment: dict[str, str],
    tmp_path: Path,
    python: Path,
    front_end: Callable[[Path, Path], Words],
    name: str,
) -> None:
    built = wheel_of(copy(name, tmp_path / "project"), environment, front_end)
    install(python, built.wheel)
    assert sorted(read_all(python, name)) == sorted(FOUND[name])


@pytest.mark.parametrize("name", [*LIGHT, *HEAVY])
def test_uv_pip_install(
    environment: dict[str, str], tmp_path: Path, python: Path, name: str
) -> None:
    project = copy(name, tmp_path / "project")
    words = ("--python", python, "--no-deps", *FRESH, project)
    run(sys.executable, "-m", "uv", "pip", "install", *words, env=environment)
    assert sorted(read_all(python, name)) == sorted(FOUND[name])


@pytest.mark.parametrize(("tool", "name"), [*each(["pip", "uv"], LIGHT), *each(["uv"], HEAVY)])
@pytest.mark.parametrize("mode", ["lenient", "strict"])
def test_editable_install(
    environment: dict[str, str], tmp_path: Path, python: Path, tool: str, mode: str, name: str
) -> None:
    project = copy(name, tmp_path / "project")
    chosen = ("--no-deps", "--config-settings", f"editable_mode={mode}", "-e", project)
    if tool == "pip":
        command = ["pip", "--python", python, "install", *chosen]
    else:
        command = ["uv", "pip", "install", "--python", python, *FRESH, *chosen]
    run(sys.executable, "-m", *command, env=environment)
    assert sorted(read_all(python, name)) == sorted(FOUND[name])
    inplace = project / name / "_aot" / "manifest.json"
    assert inplace.is_file() == (mode == "lenient")
