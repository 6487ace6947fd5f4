"""Kernels that are not required: left out without their toolchain, and built once it is there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from aot_build.opening import requirements
from aot_build.toolchains.rocm import NEWEST, OLDEST, VERSIONED
from tests.flow.conftest import FILES, Project
from tests.flow.settled import is_fresh, settle

PYPROJECT = """\
[tool.aot-build]
package = "demo"
targets = ["cpu", "hip:gfx942"]

[[tool.aot-build.kernels]]
name = "table"
backend = "python"
source = "demo.generate:make"
configs = [{ n = 1 }]
targets = ["cpu"]
"""
SCALE = """
[[tool.aot-build.kernels]]
name = "scale"
backend = "cpp"
source = "demo/scale.cpp"
include-dirs = ["demo/include"]
configs = ["demo/scale.csv"]
required = false
"""
COPY = """
[[tool.aot-build.kernels]]
name = "copy"
backend = "flydsl"
source = "demo.generate:make"
required = false
"""


def installed(site: Path, version: str) -> None:
    folder = site / f"flydsl-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: flydsl\nVersion: {version}\n")


@pytest.mark.slow
@pytest.mark.compiler
def test_a_program_that_comes(new_project: Callable[..., Project], tmp_path: Path) -> None:
    project = new_project("one", {**FILES, "pyproject.toml": PYPROJECT + SCALE})
    place, compiler = tmp_path / "bin", shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    place.mkdir()
    project.env |= {"PATH": str(place), "CXX": "", "CC": ""}
    ended = project.command("build")
    assert ended.returncode == 0 and "1 built" in ended.stderr
    assert ended.stderr.count("scale is left out: ") == 1
    settle(project)
    log = project.path / "build/aot/events.jsonl"
    before = log.read_bytes()
    for words in (["build"], ["build", "--json"], ["build", "--progress", "plain"]):
        assert project.command(*words).stderr.count("scale is left out: ") == 1, words
    assert log.read_bytes() == before, "no engine was started"
    for name in ("g++", "as", "ld"):
        (place / name).symlink_to(shutil.which(name) or compiler)
    assert not is_fresh(project)
    assert project.build()["executed"] == 2


@pytest.mark.slow
def test_a_package_that_comes(new_project: Callable[..., Project], tmp_path: Path) -> None:
    project = new_project("one", {**FILES, "pyproject.toml": PYPROJECT + COPY})
    first, second = tmp_path / "a" / "site-packages", tmp_path / "b" / "site-packages"
    first.parent.mkdir()
    installed(second, "9.0")
    project.env["PYTHONPATH"] = f"{first}:{second}:{project.env['PYTHONPATH']}"
    ended = project.command("build", "--json")
    assert "copy is left out: flydsl 9.0 is not one that works" in ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["actions"] == 1
    ended = project.command("explain", "copy")
    assert ended.returncode == 2 and "kernel 'copy' is declared, and nothing" in ended.stderr
    assert "no kernel is called 'cpy'" in project.command("explain", "cpy").stderr
    settle(project)
    installed(first, "9.1")
    assert not is_fresh(project)
    assert "copy is left out: flydsl 9.1" in project.command("build").stderr
    project.edit("pyproject.toml", "required = false", "")
    ended = project.command("build")
    assert ended.returncode == 2
    assert "toolchain not found for kernel 'copy': flydsl 9.1" in ended.stderr


@pytest.mark.slow
def test_a_program_that_is_upgraded_in_place(
    new_project: Callable[..., Project], tmp_path: Path
) -> None:
    """As by a link that leads to it: the folder in which it was found stays as it is."""
    if any(Path(VERSIONED.format(version)).exists() for version in range(OLDEST, NEWEST + 1)):
        pytest.skip("a linker is found at a fixed place")
    project = new_project("one", {**FILES, "pyproject.toml": PYPROJECT + COPY})
    site, place, linker = tmp_path / "site-packages", tmp_path / "bin", tmp_path / "linker"
    installed(site, "0.4.2")
    place.mkdir()
    linker.write_text("#!/bin/sh\necho LLD 14.0.6\n")
    linker.chmod(0o755)
    (place / "ld.lld").symlink_to(linker)
    project.env["PYTHONPATH"] = f"{site}:{project.env['PYTHONPATH']}"
    project.env |= {"PATH": str(place)}
    assert "copy is left out: no linker" in project.command("build").stderr
    settle(project)
    linker.write_text("#!/bin/sh\necho LLD 18.1.8\n")
    assert not is_fresh(project)


def test_what_an_isolated_build_asks_for(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "pyproject.toml").write_text(PYPROJECT + COPY)
    assert requirements(str(tmp_path), {}) == []
    (tmp_path / "pyproject.toml").write_text(PYPROJECT + COPY.replace("required = false", ""))
    assert requirements(str(tmp_path), {}) == ["flydsl>=0.3.1,<0.5"]
