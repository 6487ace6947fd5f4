"""Every setuptools process on a machine imports the hook: it has to cost nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
import setuptools
before = set(sys.modules)
from aot_build.commands import hook
hook.finalize(setuptools.Distribution())
new = set(sys.modules) - before
tops = {name.partition(".")[0] for name in new}
print(sorted(tops - sys.stdlib_module_names))
print(any(name.startswith("aot_build.commands.") and not name.endswith(".hook") for name in new))
"""


@pytest.mark.parametrize(
    ("text", "plugged"),
    [
        ("", False),
        ("[build-system]\nrequires = ['aot-build']\n", False),
        ("[tool.aot-build\n", False),
        ("tool = 1 # aot-build", False),
        ("[tool.aot-build]\n", True),
    ],
)
def test_hook_imports_the_standard_library_alone(tmp_path, text, plugged):
    (tmp_path / "pyproject.toml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["['aot_build']", str(plugged)]
