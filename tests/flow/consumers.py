"""Small real projects, and the front ends that build and install them as their users would.

Builds are isolated, from a wheel of this checkout; what they leave is installed where neither
aot_build nor setuptools is, and read through `_aot` alone.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROJECTS = ROOT / "tests" / "projects"
NOT_SOURCES = shutil.ignore_patterns(
    ".*", "build", "cache", "dist", "_aot", "__pycache__", "*.egg-info"
)
EPOCH = "1700000000"
"""SOURCE_DATE_EPOCH of builds whose bytes are compared."""

READ_ALL = """
import importlib, importlib.util, json, sys
_aot = importlib.import_module(sys.argv[1] + "._aot")
found = []
for name, kernel in _aot.manifest()["kernels"].items():
    for variant in kernel["variants"]:
        if variant["files"]:
            artifact = _aot.get(name, target=variant["target"], **variant["row"])
            assert sorted(artifact.files) == sorted(variant["files"]), artifact
            assert artifact.row.keys() == variant["row"].keys(), artifact
            found.append(f"{name} {artifact.target}")
assert _aot.verify() == []
for module in ("aot_build", "setuptools", "torch", "triton"):
    assert importlib.util.find_spec(module) is None, module
print(json.dumps(found))
"""
CALL_SCALE = """
import ctypes, importlib, sys
_aot = importlib.import_module(sys.argv[1] + "._aot")
kernel = ctypes.CDLL(_aot.get("scale", target="cpu", T="float", BLOCK=64).path)
row = ctypes.c_float * 3
out = row()
kernel.scale(row(1, 2, 3), out, ctypes.c_long(3), ctypes.c_float(2))
assert list(out) == [2, 4, 6], list(out)
assert kernel.block() == 64
"""

FRESH = ("--refresh-package", "aot-build")
"""For uv: its cache may hold a wheel of another checkout with the same version."""

Environment = Mapping[str, str]
Words = list[str | Path]


@dataclass(frozen=True)
class Built:
    """A wheel, and the summary of the build that made it."""

    wheel: Path
    summary: dict[str, Any]

    def kernels(self) -> dict[str, bytes]:
        """Name -> bytes of all that `_aot` holds."""
        with zipfile.ZipFile(self.wheel) as archive:
            return {n: archive.read(n) for n in archive.namelist() if "/_aot/" in n}


def run(*command: str | Path, cwd: Path | None = None, env: Environment | None = None) -> str:
    """Its stdout. Fails where the command does."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def configured(option: str) -> list[str]:
    """What pip is configured with, by variable or file; uv reads neither."""
    variable = f"PIP_{option.replace('-', '_').upper()}"
    if variable in os.environ:
        return os.environ[variable].split()
    command = [sys.executable, "-m", "pip", "config", "get", f"global.{option}"]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()


def copy(name: str, folder: Path) -> Path:
    """A project's sources in a folder of their own: a build leaves its folders beside them."""
    return Path(shutil.copytree(PROJECTS / name, folder / name, ignore=NOT_SOURCES))


# Front ends: project and folder for the wheel -> command


def pip(python: str | Path = sys.executable) -> Callable[[Path, Path], Words]:
    """`pip wheel`, with the pip of that interpreter."""
    return lambda project, out: [python, "-m", "pip", "wheel", "--no-deps", "-w", out, project]


def build(project: Path, out: Path) -> Words:
    """`python -m build`: an sdist, and the wheel of that."""
    return [sys.executable, "-m", "build", "--outdir", out, project]


def uv(project: Path, out: Path, kind: str = "wheel") -> Words:
    """`uv build`."""
    words = (f"--{kind}", *FRESH, "--python", sys.executable, "--out-dir")
    return [sys.executable, "-m", "uv", "build", *words, out, project]


def wheel_of(
    project: Path, env: Environment, front_end: Callable[[Path, Path], Words] | None = None
) -> Built:
    """Build a project's wheel, by default with today's pip."""
    out = project.parent / "wheels" / project.name
    summary = project.parent / f"{project.name}.json"
    run(*(front_end or pip())(project, out), env={**env, "AOT_BUILD_SUMMARY": str(summary)})
    (wheel,) = out.glob("*.whl")
    return Built(wheel, json.loads(summary.read_text()))


def install(python: Path, wheel: Path) -> None:
    """Install that wheel alone."""
    words = ("--python", python, "install", "--no-deps", "--no-index", wheel)
    run(sys.executable, "-m", "pip", *words)


def read_all(python: Path, package: str) -> list[str]:
    """`<kernel> <target>` of each variant that has files, each found by its row in `_aot`."""
    found: list[str] = json.loads(run(python, "-I", "-c", READ_ALL, package))
    return found
