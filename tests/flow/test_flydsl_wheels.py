"""FlyDSL kernels from a project's declaration to a launch of the installed wheel, without a GPU."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.torch, pytest.mark.flydsl]
PYPROJECT = """
[build-system]
requires = ["setuptools>=80", "aot-build"]
build-backend = "aot_build.build_meta"

[project]
name = "demo"
version = "1.0"

[tool.setuptools]
packages = ["demo"]

[tool.aot-build]
package = "demo"
targets = ["cpu", "hip:gfx942"]
cache-dir = "cache"

[[tool.aot-build.kernels]]
name = "idle"
backend = "flydsl"
source = "demo.jobs:idle"
configs = [{ dtype = ["float32", "float16"] }]
"""
SETUP = """
from aot_build.commands import hook
from setuptools import Distribution, setup
class Plugged(Distribution):
    def finalize_options(self):
        hook.finalize(self)
        super().finalize_options()
setup(distclass=Plugged)
"""
JOBS = """
from pathlib import Path

def idle(out_dir, target, dtype):
    import torch
    from demo import kern
    kern.launch(torch.zeros(4, dtype=getattr(torch, dtype)))

def claiming(out_dir, target, dtype, text):
    idle(out_dir, target, dtype)
    for entry in Path(out_dir).glob("*/*.pkl"):
        entry.write_bytes(text.encode())
"""
LAUNCH = """
import sys
import demo
assert not {"flydsl", "torch"} & set(sys.modules), "imported by install"
import torch
from demo import kern
for name in sys.argv[1:]:
    assert kern.launch(torch.zeros(4, dtype=getattr(torch, name))) is None
print(kern.launch.cache_info().hits)
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "pyproject.toml": PYPROJECT,
        "setup.py": SETUP,
        "demo/__init__.py": "from . import _aot\n\n_aot.install()\n",
        "demo/jobs.py": JOBS,
        "cache/.keep": "",
    }
    for name, text in files.items():
        file = tmp_path / "project" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    kernels = ROOT / "tests" / "runtime" / "flydsl_to_ship.py"
    shutil.copy(kernels, tmp_path / "project" / "demo" / "kern.py")
    return tmp_path / "project"


@pytest.fixture
def run(project: Path, tmp_path: Path) -> Run:
    def run(*words: str, path: Path = ROOT, **more: str) -> subprocess.CompletedProcess[str]:
        ours = ("AOT_", "FLYDSL_", "COMPILE_ONLY")
        env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        env |= {"PYTHONPATH": str(path), "XDG_CACHE_HOME": str(tmp_path / "caches")}
        words = (sys.executable, *words)
        return subprocess.run(words, cwd=project, env=env | more, capture_output=True, text=True)

    return run


@pytest.mark.pip
def test_installed_wheel_launches_without_compiling(run: Run, tmp_path: Path) -> None:
    pip = ("-m", "pip", "--disable-pip-version-check")
    built = run(*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", str(tmp_path), ".")
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = tmp_path.glob("*.whl")
    version = subprocess.run(
        [sys.executable, "-c", "import importlib.metadata as m; print(m.version('flydsl'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    assert f"-{tag}-{tag}-linux" in path.name
    with zipfile.ZipFile(path) as wheel:
        text = wheel.read("demo-1.0.dist-info/METADATA").decode()
        bom = json.loads(wheel.read("demo-1.0.dist-info/sboms/aot-build.cdx.json"))
        wheel.extractall(tmp_path / "site")
    assert f"Requires-Dist: flydsl=={version}\n" in text
    tools = [c for c in bom["components"] if c["type"] == "application"]
    assert ("flydsl", version) in [(c["name"], c["version"]) for c in tools]

    compiling = {"COMPILE_ONLY": "1", "ARCH": "gfx942", "FLYDSL_GPU_ARCH": "gfx942"}
    strict = compiling | {"AOT_RUNTIME": "strict", "PYTHONDONTWRITEBYTECODE": "1"}
    site = tmp_path / "site"
    names = sorted(map(str, site.rglob("*")))
    found = run("-P", "-c", LAUNCH, "float32", "float16", path=site, **strict)
    assert (found.stdout.strip(), found.stderr) == ("2", "")
    assert sorted(map(str, site.rglob("*"))) == names
    missed = run("-P", "-c", LAUNCH, "bfloat16", path=site, **strict)
    assert "FLYDSL_RUNTIME_RUN_ONLY=1 but no usable AOT cache for launch" in missed.stderr


def test_two_kernels_that_leave_different_entries_of_one_name_fail(run: Run, project: Path) -> None:
    kernel = PYPROJECT.partition("[[tool.aot-build.kernels]]")[2]
    two = kernel.replace('"idle"', '"claiming"').replace("jobs:idle", "jobs:claiming")
    rows = 'configs = [{ dtype = "float16", text = ["one"] }]'
    two = "[[tool.aot-build.kernels]]" + two.partition("configs")[0] + rows
    (project / "pyproject.toml").write_text(PYPROJECT + two)
    for executed in (3, 0):
        done = run("-m", "aot_build", "build", "--json")
        assert done.returncode == 1, done.stdout + done.stderr
        summary = json.loads(done.stdout.splitlines()[-1])
        (failure,) = summary["failures"]
        assert (failure["kernel"], failure["variant"]) == ("idle", "dtype=float16")
        assert "than claiming [dtype=float16, text=one] for hip:gfx942 did" in failure["reason"]
        assert summary["actions"] == 3 and len(summary["misses"]) == executed
    assert not (project / "build/aot/demo/_aot/manifest.json").exists()
