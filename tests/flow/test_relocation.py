"""One cache, many places: what was built in one checkout is never built in another, to the byte.

Each backend's project is built once. The other checkouts have other depths and names, one with a
blank; another home, user, umask and locale; another environment's interpreter. Sources tell where
they lie, as asserts do, so that a path that leaks shows in the bytes.
"""

import json
import os
import shutil
import site
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

KERNEL = '[[tool.aot-build.kernels]]\nname = "scale"\n'
CPP = {
    "pyproject.toml": (
        '[tool.aot-build]\npackage = "demo"\ntargets = ["cpu"]\n' + KERNEL + 'backend = "cpp"\n'
        'source = ["demo/scale.cpp", "demo/told.cpp"]\ninclude-dirs = ["demo/include"]\n'
        'flags = ["-g"]\nconfigs = [{ BLOCK = 64 }]\n'
    ),
    "demo/scale.cpp": '#include "told.h"\nint scale(int x) { return x * BLOCK; }\n',
    "demo/told.cpp": '#include "told.h"\nconst char* own() { return __FILE__; }\n',
    "demo/include/told.h": "inline const char* told() { return __FILE__; }\n",
}
CUDA = {
    "pyproject.toml": (
        '[tool.aot-build]\npackage = "demo"\ntargets = ["cuda:sm_80"]\n'
        + (KERNEL + 'backend = "cuda"\nsource = "demo/scale.cu"\n')
        + 'include-dirs = ["demo/include"]\nflags = ["-lineinfo"]\nconfigs = [{ T = "float" }]\n'
        + (KERNEL.replace("scale", "shift") + 'backend = "cuda"\noutput = "library"\n')
        + 'source = ["demo/shift.cu"]\ninclude-dirs = ["demo/include"]\nconfigs = [{}]\n'
    ),
    "demo/include/told.h": "__device__ inline const char* told() { return __FILE__; }\n",
    "demo/scale.cu": (
        '#include "told.h"\n#include <cassert>\n'
        'extern "C" __global__ void scale(T* x) { assert(x); x[0] *= told()[0]; }\n'
    ),
    "demo/shift.cu": (
        '#include "told.h"\n__global__ void shift(int* x) { x[0] += told()[0]; }\n'
        'extern "C" const char* launch(int* x) { shift<<<1, 1>>>(x); return __FILE__; }\n'
    ),
}
TRITON = {
    "pyproject.toml": (
        '[tool.aot-build]\npackage = "demo"\ntargets = ["cuda:sm_90a", "hip:gfx942"]\n'
        + (KERNEL + 'backend = "triton"\nsource = "demo.kern:scale"\n')
        + 'signature = { X = "*fp32:16", n = "i32" }\nconfigs = [{ BLOCK = 128 }]\n'
    ),
    "demo/kern.py": (
        "import triton\nimport triton.language as tl\n\n\n@triton.jit\n"
        "def scale(X, n, BLOCK: tl.constexpr):\n"
        "    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)\n"
        "    tl.store(X + o, 2.0, mask=o < n)\n"
    ),
}
PYTHON = {
    "pyproject.toml": (
        '[tool.aot-build]\npackage = "demo"\ntargets = ["cpu"]\n' + KERNEL + 'backend = "python"\n'
        'source = "demo.make:make"\nconfigs = [{ n = [1, 2] }]\n'
        'env = { DEMO_TABLES = "{project}/tables" }\n'
    ),
    "demo/make.py": (
        "import os\nfrom pathlib import Path\n\nimport xxhash\n\n"
        "def make(out_dir, target, n):\n"
        "    folder = Path(os.environ['DEMO_TABLES'])\n"
        "    read = ''.join((folder / name).read_text() for name in sorted(os.listdir(folder)))\n"
        "    (folder / 'absent').exists()\n"
        "    Path(out_dir, 'table.txt').write_text(f'{read * n}{xxhash.VERSION}')\n"
    ),
    "tables/one": "1",
    "tables/two": "2",
}
OTHER_USER = {
    "HOME": "/nowhere", "USER": "somebody", "LOGNAME": "somebody", "LC_ALL": "C.UTF-8",
    "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "7", "HOSTNAME": "elsewhere",
}  # fmt: skip
Build = Callable[..., dict[str, Any]]


@pytest.fixture
def build() -> Build:
    """Build a project as another user might; the summary."""

    def build(project: Any, python: str | Path = sys.executable, **env: str) -> dict[str, Any]:
        path = project.path.with_name("summary.json")
        ended = subprocess.run(
            [*_as_somebody(env), python, "-m", "aot_build", "build"],
            cwd=project.path,
            env={**project.env, **env, "AOT_BUILD_SUMMARY": str(path)},
            capture_output=True,
            text=True,
            timeout=300,
            umask=0o077 if env else -1,
        )
        assert ended.returncode == 0, ended.stderr
        summary: dict[str, Any] = json.loads(path.read_text())
        return summary

    return build


def _as_somebody(env: Mapping[str, str]) -> list[str]:
    """Another user id, where the system lets us have one."""
    words = ["unshare", "--user", "--map-user=1001"]
    if not env or not shutil.which(words[0]):
        return []
    return words if subprocess.run([*words, "true"], capture_output=True).returncode == 0 else []


@pytest.fixture
def other_python(tmp_path: Path) -> Path:
    """The interpreter of an environment elsewhere, with the same packages, as links."""
    venv.create(tmp_path / "an environment" / "of its own", with_pip=False)
    (packages,) = (tmp_path / "an environment").glob("*/lib/python*/site-packages")
    for installed in site.getsitepackages():
        for entry in os.scandir(installed):
            if not (packages / entry.name).exists():
                (packages / entry.name).symlink_to(entry.path)
    return packages.parents[2] / "bin" / "python"


@pytest.mark.parametrize(
    ("files", "actions"),
    [
        pytest.param(CPP, 1, marks=pytest.mark.compiler, id="cpp"),
        pytest.param(CUDA, 2, marks=[pytest.mark.nvcc, pytest.mark.slow], id="cuda"),
        pytest.param(TRITON, 2, marks=[pytest.mark.triton, pytest.mark.slow], id="triton"),
        pytest.param(PYTHON, 2, id="python"),
    ],
)
def test_another_place_runs_nothing_and_ships_the_same_bytes(
    new_project: Callable[..., Any],
    build: Build,
    other_python: Path,
    files: Mapping[str, str],
    actions: int,
) -> None:
    files = {"demo/__init__.py": "", **files}
    first = new_project("a", files)
    assert build(first)["executed"] == actions
    shipped = first.artifacts()
    assert not [n for n, b in shipped.items() if os.fsencode(first.path) in b]

    deeper = new_project("some where/that is much deeper/and longer", files)
    summary = build(deeper, **OTHER_USER)
    assert (summary["hits"], summary["executed"]) == (actions, 0), summary["misses"]
    assert deeper.artifacts() == shipped

    shutil.rmtree(first.path)
    shutil.rmtree(deeper.path)
    last = new_project("b/c", files)
    summary = build(last, other_python)
    assert (summary["hits"], summary["executed"]) == (actions, 0), summary["misses"]
    assert last.artifacts() == shipped
