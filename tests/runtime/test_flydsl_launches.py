"""Entries of FlyDSL kernels: that the FlyDSL installed here finds what is shipped."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from aot_build.toolchains import rocm
from tests.runtime.packages import Package, lay_out

pytestmark = [pytest.mark.slow, pytest.mark.torch, pytest.mark.flydsl]

HERE = Path(__file__).parent
LAUNCHES = """
import os, sys
import shipping
assert not {"flydsl", "torch"} & set(sys.modules), "imported by install"
import torch
from shipping import kern
for dtype in (torch.float32, torch.float16):
    assert kern.launch(torch.zeros(4, dtype=dtype)) is None
info = kern.launch.cache_info()
print(info.hits, info.misses)
"""


@pytest.fixture(autouse=True, scope="module")
def variables() -> Iterator[None]:
    """None of FlyDSL's is set."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("FLYDSL_RUNTIME_CACHE_DIR", "FLYDSL_RUNTIME_RUN_ONLY", "AOT_RUNTIME"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A package that ships what the FlyDSL installed here made of two launches."""
    made = Package(tmp_path_factory.mktemp("built"))
    lay_out(made.aot)
    shutil.copy(HERE / "flydsl_to_ship.py", made.aot.parent / "kern.py")
    (made.aot.parent / "__init__.py").touch()
    launch(made, FLYDSL_RUNTIME_CACHE_DIR=str(made.root / "made"))
    made.python(str(HERE / "ship_flydsl.py"), str(made.root / "made"), str(made.aot))
    (made.aot.parent / "__init__.py").write_text("from . import _aot\n\n_aot.install()\n")
    return made


def launch(package: Package, **env: str) -> str:
    home = rocm.lay_out(rocm.find_rocm(os.environ), package.root / "rocm")
    compiling = {"COMPILE_ONLY": "1", "ARCH": "gfx942", "FLYDSL_GPU_ARCH": "gfx942"}
    env |= {**compiling, "ROCM_PATH": home, "PYTHONDONTWRITEBYTECODE": "1"}
    return package.python("-c", LAUNCHES, **env).stdout.strip()


def test_launches_find_what_is_shipped(built: Package, tmp_path: Path) -> None:
    before = shipped_tree(built)
    strict = {"AOT_RUNTIME": "strict", "XDG_CACHE_HOME": str(tmp_path)}
    assert launch(built, **strict) == "2 0"
    placed = sorted(tmp_path.rglob("*.pkl"))
    assert len(placed) == 2
    assert shipped_tree(built) == before
    run_only = {"FLYDSL_RUNTIME_RUN_ONLY": "1", "FLYDSL_RUNTIME_CACHE_DIR": str(tmp_path / "x")}
    assert launch(built, **run_only) == "2 0"


def test_a_launch_that_is_not_shipped_is_an_error_in_strict_mode(
    built: Package, tmp_path: Path
) -> None:
    package = built.copy(tmp_path)
    package.edit(lambda variant: variant["files"].pop(min(variant["files"])))
    with pytest.raises(AssertionError, match="RUN_ONLY=1 but no usable AOT cache for launch"):
        launch(package, AOT_RUNTIME="strict", XDG_CACHE_HOME=str(tmp_path))
    assert launch(package, XDG_CACHE_HOME=str(tmp_path)) == "1 1"


def shipped_tree(package: Package) -> list[tuple[str, int, str]]:
    files = [path for path in package.aot.parent.rglob("*") if path.is_file()]
    rows = [(str(p), p.stat().st_ctime_ns, hashlib.sha256(p.read_bytes())) for p in files]
    return sorted((path, ctime, digest.hexdigest()) for path, ctime, digest in rows)
