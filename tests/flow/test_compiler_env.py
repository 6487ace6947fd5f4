"""Variables of the environment and compilers, over whole builds."""

import pytest

pytestmark = pytest.mark.compiler

DATED = 'extern "C" const char* date() { return __DATE__ " of " NAME; }\n'
KERNEL = """
[[tool.aot-build.kernels]]
name = "dated"
backend = "cpp"
source = "demo/dated.cpp"
targets = ["cpu"]
flags = ['-DNAME="demo"']
"""


def test_the_date_rebuilds_what_shows_it(project):
    project.write({"demo/dated.cpp": DATED})
    project.write({"pyproject.toml": project.files["pyproject.toml"] + KERNEL})
    assert project.build()["executed"] == project.variants + 1
    one = project.build(SOURCE_DATE_EPOCH="1600000000")
    assert [miss["kernel"] for miss in one["misses"]] == ["dated"]
    assert b"Sep 13 2020 of demo" in b"".join(project.artifacts().values())
    assert project.build(SOURCE_DATE_EPOCH="1600000000")["executed"] == 0
    assert project.build()["executed"] == 0


def test_variables_that_compilers_do_not_see_rebuild_nothing(project):
    project.build()
    free = {"LANG": "de_DE.UTF-8", "GCC_COLORS": "error=01", "LD_LIBRARY_PATH": "/nowhere",
            "DEPENDENCIES_OUTPUT": str(project.path / "made"), "HOME": "/nowhere"}  # fmt: skip
    assert project.build(**free)["executed"] == 0
    assert project.build("--mode", "fast", **free)["executed"] > 0
    assert not (project.path / "made").exists()
    shown = project.build(CPATH=f"{project.path}/demo/include")
    assert {miss["kernel"] for miss in shown["misses"]} == {"scale"}
