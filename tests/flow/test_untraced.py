"""What stands for the tracer where there is none: it looks where compilers would have looked."""

import os
import shutil

import pytest

pytestmark = pytest.mark.compiler

PYPROJECT = """\
[tool.aot-build]
package = "demo"
targets = ["cpu"]

[[tool.aot-build.kernels]]
name = "k"
backend = "cpp"
source = "demo/k.cpp"
include-dirs = ["demo"]
flags = ["@{project}/words", "-B{project}/tools"]
configs = [{ n = 1 }]
"""


@pytest.fixture
def untraced(new_project):
    """A project of one kernel, built without the tracer."""
    project = new_project(
        files={
            "pyproject.toml": PYPROJECT,
            "demo/__init__.py": "",
            "demo/k.cpp": '#include "first.h"\nextern "C" int k() { return W + FIRST + n; }\n',
            "demo/first.h": "#define FIRST 1\n",
            "tools/.keep": "",
        }
    )
    project.write({"words": f"@{project.path}/more", "more": "-DW=1"})
    project.env["AOT_BUILD_TRACER"] = "0"
    project.build()
    return project


def reasons(project):
    return [miss["reason"] for miss in project.build()["misses"]]


def test_a_response_file_that_another_names(untraced):
    untraced.write({"more": "-DW=2"})
    (reason,) = reasons(untraced)
    assert reason.startswith("file {project}/more: ")


def test_a_precompiled_header_that_appears(untraced):
    untraced.write({"demo/first.h.gch": "none that this compiler takes"})
    assert reasons(untraced) == ["absent {project}/demo/first.h.gch: absent -> present"]


def test_an_assembler_that_appears_in_a_folder_of_programs(untraced, tmp_path):
    command = f'exec {os.path.realpath(shutil.which("as"))} --defsym Z=2 "$@"'
    untraced.write({"tools/as": f"#!/bin/sh\n{command}\n"})
    (untraced.path / "tools/as").chmod(0o755)
    summary = untraced.build()
    (miss,) = summary["misses"]
    assert "programs" in miss["reason"]
    assert untraced.build()["executed"] == 0
