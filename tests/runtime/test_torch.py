"""select with a real torch."""

import sys
from typing import Any

import pytest

pytestmark = pytest.mark.torch


def test_devices_of_torch(aot: Any) -> None:
    torch = pytest.importorskip("torch")
    aot._devices._cpu = ("cpu", frozenset({"", "x86-64", "x86-64-v2", "x86-64-v3"}))
    row = {"T": "float", "BLOCK": 128}
    assert aot.select("scale", torch.empty(0).device, **row).bytes == b"128v3"
    assert aot.select("scale", **row).bytes == b"128v3"
    with pytest.raises(aot.KernelNotFound, match="nothing for meta"):
        aot.select("scale", torch.device("meta"), **row)


def test_gpus_of_torch(aot: Any) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        assert aot._devices.gpu(None) == aot._devices.gpu(0)
    else:
        with pytest.raises(aot.KernelNotFound, match="nothing for this machine"):
            aot.select("gemm", BM=128)
        with pytest.raises((AssertionError, RuntimeError)):
            aot.select("gemm", 0, BM=128)
    assert "torch" in sys.modules
