"""Packages with shipped kernels, as wheels lay them out, and processes that import them."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aot_build.runtime
from aot_build.core.manifest import manifest_text
from aot_build.layout import RUNTIME

HERE = Path(__file__).parent
INSTALL = "from . import _aot\n\n_aot.install()\n"
BEGIN = """
import sys
import fake_gpu
from fake_gpu import Tensor
import shipping
from shipping import _aot
assert not {"triton", "torch"} & set(sys.modules), "imported by install"
gpu = fake_gpu.plug_in(*GPU)
from shipping import kern
aligned, loose = Tensor("fp16"), Tensor("fp16", 4098)
def nothing_compiled():
    return not gpu.compiles and not gpu.hooked and not fake_gpu.cached()
"""


def lay_out(root: Path) -> None:
    """Copy the runtime into a folder `_aot`, as a build does."""
    root.mkdir(parents=True, exist_ok=True)
    for name in RUNTIME:
        shutil.copy(Path(aot_build.runtime.__file__).parent / name, root)


class Package:
    """The package `shipping` in a folder of its own, and processes that import it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.aot = root / "shipping" / "_aot"

    def copy(self, root: Path, name: str = "shipping") -> "Package":
        shutil.copytree(self.root / "shipping", root / name)
        return Package(root)

    def python(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        paths = [str(self.root), str(HERE), os.environ.get("PYTHONPATH", "")]
        cache = tempfile.mkdtemp(prefix="triton cache ", dir=self.root)
        found = subprocess.run(
            [sys.executable, *args],
            cwd=self.root,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "TRITON_CACHE_DIR": cache,
                "TRITON_DEFAULT_FP_FUSION": "1",
                **env,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stdout + found.stderr
        return found

    def run(self, code: str, gpu: object = ("cuda", 90), begin: str = BEGIN, **env: str) -> str:
        """What the code prints, in a process with that GPU."""
        script = begin.replace("GPU", repr(gpu)) + textwrap.dedent(code)
        return self.python("-W", "error", "-c", script, **env).stdout.strip()

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the metadata of every variant."""
        path = self.aot / "manifest.json"
        found = json.loads(path.read_text())
        for kernel in found["kernels"].values():
            for variant in kernel["variants"]:
                change(variant)
        path.write_text(manifest_text(found))

    def digest(self, kernel: str, number: int, target: str = "cuda:sm_90a") -> str:
        found = json.loads((self.aot / "manifest.json").read_text())
        variants = found["kernels"][kernel]["variants"]
        (variant,) = (v for v in variants if (v["target"], v["row"]["number"]) == (target, number))
        (file,) = variant["files"].values()
        return str(file["sha256"])
