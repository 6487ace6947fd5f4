"""Which Python and which platform a wheel asks for."""

import json
from pathlib import Path

import pytest

from aot_build.wheels.tags import wheel_tag

USUAL = ("cp311", "cp311", "linux_x86_64")


def result(folder: Path, **kernels: str) -> Path:
    table = {name: {"backend": backend, "variants": [{}]} for name, backend in kernels.items()}
    (folder / "manifest.json").write_text(json.dumps({"kernels": table}))
    return folder


def test_before_a_build_the_platform_is_promised():
    assert wheel_tag(USUAL, "py3", None) == ("py3", "none", "linux_x86_64")


@pytest.mark.parametrize("backend", ["cpp", "cuda", "triton", "python", "export"])
def test_artifacts_need_no_particular_python(tmp_path, backend):
    found = wheel_tag(USUAL, "py3", result(tmp_path, scale=backend))
    assert found == ("py3", "none", "linux_x86_64")


def test_flydsl_needs_the_interpreter_that_built_it(tmp_path):
    assert wheel_tag(USUAL, "py3", result(tmp_path, a="cpp", b="flydsl")) == USUAL


def test_nothing_built_installs_anywhere(tmp_path):
    assert wheel_tag(USUAL, "py3", result(tmp_path)) == ("py3", "none", "any")
