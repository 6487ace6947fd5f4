"""Device code on a GPU: what reaches the driver is recorded where the vendors' packages begin."""

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from aot_build.backends.lookups.trial import Zeros, arguments, tried
from aot_build.runtime._launch import Launcher

ARGS = [("x", "*fp16"), ("n", "i32"), ("eps", "fp32"), ("on", "i1"), ("global_scratch", "*i8")]
METADATA = {
    "symbol": "kernel", "shared": 0, "num_warps": 4, "warp_size": 32,
    "args": [{"name": name, "type": kind} for name, kind in ARGS],
    "assumes": {"x": 16, "n": 16}, "within_2gb": ["x"], "scratch": {"global": [0, 1]},
}  # fmt: skip


class Driver:
    """Records launches; code that says so does not load, faults, or never ends."""

    def __init__(self) -> None:
        self.launches: list[tuple[bytes, tuple[int, ...], list[float]]] = []

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        yield

    def stream(self, stream: object) -> int:
        return 0

    def load(self, code: bytes, *more: object) -> bytes:
        if code == b"broken":
            raise RuntimeError("no binary for GPU\nmore")
        return code

    def launch(self, code: bytes, shape: Any, stream: int, values: list[Any]) -> None:
        self.launches.append((code, shape.grid, [value.value for value in values]))
        if code == b"faults":
            raise RuntimeError("illegal address")

    def buffer(self) -> Zeros:
        return Zeros(4096, 1 << 20)

    def ended(self) -> bool:
        return self.launches[-1][0] != b"endless"


def artifact(driver: Driver, code: bytes, **more: Any) -> Any:
    found = SimpleNamespace(metadata={**METADATA, **more}, bytes=code)
    found.load = lambda device, symbol: Launcher(found, driver, found.metadata)
    return found


def test_kernels_are_loaded_and_launched_on_zeros() -> None:
    driver = Driver()
    untyped = artifact(driver, b"untyped", args=[{"size": 8}], scratch={}, assumes={})
    found = [artifact(driver, b"broken"), artifact(driver, b"good"), untyped]
    assert tried(found, driver) == [
        ("", "it does not load: RuntimeError: no binary for GPU"), ("launched", ""), ("loaded", ""),
    ]  # fmt: skip
    assert driver.launches == [(b"good", (1, 1, 1), [4096, 0, 0.0, 0, 0])]


def test_a_launch_that_fails_condemns_nothing() -> None:
    for code, said in ((b"faults", "illegal address"), (b"endless", "does not end within 10 s")):
        driver = Driver()
        first, second = tried([artifact(driver, code), artifact(driver, b"good")], driver)
        assert first[0] == "loaded" and said in first[1]
        assert second == ("loaded", "") and len(driver.launches) == 1, "the GPU is lost by then"


def test_what_cannot_be_made_up_is_not_launched() -> None:
    gpu = Driver()
    for kind in ("**fp16", "tensordesc<fp16[64, 64]>", "nvTmaDesc", 8):
        told = {**METADATA, "args": [{"name": "x", "type": kind}], "scratch": {}}
        assert arguments(told, gpu) is None, kind
    assert arguments({"symbol": "k", "args": []}, gpu) is None, "it does not know its threads"
