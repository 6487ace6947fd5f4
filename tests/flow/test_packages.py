"""Headers of installed packages: found by name, wherever an environment has them."""

import os

import pytest

pytestmark = pytest.mark.compiler

HEADER = "#define OFFSET 3\n"


@pytest.fixture
def headed(project):
    """The project, with a header that a package brings along."""
    project.edit(
        "pyproject.toml",
        '"demo/include"]',
        '"demo/include", "{package:brings_headers}/include"]',
    )
    project.edit(
        "demo/scale.cpp", '#include "factor.h"', '#include "factor.h"\n#include "offset.h"'
    )
    return project


def installed(folder, header=HEADER):
    package = folder / "brings_headers"
    (package / "include").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "include" / "offset.h").write_text(header)
    return str(folder)


def build(project, folder):
    path = os.pathsep.join([project.env["PYTHONPATH"], folder])
    return project.build(PYTHONPATH=path)


def test_a_package_in_another_folder_hits(headed, tmp_path):
    assert build(headed, installed(tmp_path / "site"))["executed"] == headed.variants
    assert build(headed, installed(tmp_path / "another" / "place"))["executed"] == 0


def test_its_headers_are_inputs(headed, tmp_path):
    build(headed, installed(tmp_path / "site"))
    summary = build(headed, installed(tmp_path / "elsewhere", "#define OFFSET 4\n"))
    assert {m["kernel"] for m in summary["misses"]} == {"scale"}
