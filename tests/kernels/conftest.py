"""The project's own kernels as they are shipped: nothing here compiles one."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

KERNELS = Path(__file__).parents[2] / "kernels"
TARGETS = ("cpu", "cpu:x86-64-v3")

if importlib.util.find_spec("aot_kernels") is None:
    sys.path.append(str(KERNELS))


@pytest.fixture
def shipped() -> ModuleType:
    """The runtime module that a build put into the package."""
    return pytest.importorskip(
        "aot_kernels._aot",
        reason="aot_kernels has no built kernels: pip install . or setup.py build_ext --inplace",
        exc_type=ImportError,
    )


@pytest.fixture(params=TARGETS)
def target(
    request: pytest.FixtureRequest, shipped: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Every launcher takes the variants of one target, whatever is best on this machine."""
    torch = pytest.importorskip("torch")
    if request.param != "cpu" and torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip(f"this CPU cannot run {request.param}")
    from aot_kernels.cpu import chunk_gdn_h, gemm, gemm_a8w8, moe, rmsnorm

    def select(name: str, device: object = None, **row: Any) -> Any:
        return shipped.get(name, target=request.param, **row)

    monkeypatch.setattr(shipped, "select", select)
    for module in (chunk_gdn_h, gemm, gemm_a8w8, moe, rmsnorm):
        request.addfinalizer(module._variant.cache_clear)
        module._variant.cache_clear()
    return str(request.param)
