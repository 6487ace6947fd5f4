"""The assembler that Triton really runs, and options that it reads when it is imported."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.flow.test_triton import KERN

triton = pytest.importorskip("triton", exc_type=ImportError)
pytestmark = pytest.mark.triton

PTXAS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas-blackwell"
SCRIPT = '#!/bin/sh\n# one\nexec {ptxas} "$@"\n'
FAILS = "[ $1 = --version ] || { echo not today >&2; exit 9; }"
PYPROJECT = """\
[tool.aot-build]
package = "demo"
targets = ["cuda:sm_90a"]

[[tool.aot-build.kernels]]
name = "shift"
backend = "triton"
source = "demo.kern:shift"
signature = { X = "*fp32", n = "i32" }
configs = [{ BLOCK = 128 }]

[[tool.aot-build.kernels]]
name = "other"
backend = "triton"
source = "demo.kern:shift"
signature = { X = "*fp32", n = "i32" }
configs = [{ BLOCK = 256 }]
env = { TRITON_PTXAS_PATH = "{project}/ptxas", TRITON_PTXAS_BLACKWELL_PATH = "{project}/ptxas" }
"""


@pytest.mark.skipif(not PTXAS.exists(), reason="needs the assemblers of Triton's wheel")
def test_a_kernel_may_name_its_assembler_and_its_options(new_project: Any) -> None:
    project = new_project(
        "one",
        {
            "demo/__init__.py": "",
            "demo/kern.py": KERN,
            "pyproject.toml": PYPROJECT,
            "ptxas": SCRIPT.format(ptxas=PTXAS),
        },
    )
    script = project.path / "ptxas"
    script.chmod(0o755)
    assert project.build()["executed"] == 2
    status = script.stat()
    script.write_text(SCRIPT.format(ptxas=PTXAS).replace("# one", FAILS))
    os.utime(script, ns=(status.st_atime_ns, status.st_mtime_ns))
    ended = project.command("build")
    assert ended.returncode == 1 and "not today" in ended.stderr and "1 hit" in ended.stderr
    project.edit("pyproject.toml", 'env = { TRITON_PTXAS_PATH = "{project}/ptxas", ', "env = { ")
    project.edit(
        "pyproject.toml",
        'TRITON_PTXAS_BLACKWELL_PATH = "{project}/ptxas"',
        'PTXAS_OPTIONS = "--no-such-option"',
    )
    ended = project.command("build")
    assert ended.returncode == 1 and "no-such-option" in ended.stderr
