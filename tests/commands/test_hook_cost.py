"""Every setuptools process on a machine imports the hook: it has to cost nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
before = set(sys.modules)
from aot_build.commands import hook
class Dist:
    src_root = None
hook.finalize(Dist())
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(new - sys.stdlib_module_names))
print(sorted(name for name in sys.modules if name.startswith("aot_build")))
"""


@pytest.mark.parametrize(
    "text",
    ["", "[build-system]\nrequires = ['aot-build']\n", "[tool.aot-build\n", "tool = 1 # aot-build"],
)
def test_hook_imports_the_standard_library_alone(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    foreign, own = done.stdout.splitlines()
    assert foreign == "['aot_build']"
    assert (
        own
        == "['aot_build', 'aot_build._version', 'aot_build.commands', 'aot_build.commands.hook']"
    )
