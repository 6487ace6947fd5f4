"""A GPU that is not there, for scripts that launch Triton kernels in a process of their own.

    gpu = fake_gpu.plug_in("cuda", 90)
    kernel[(1,)](fake_gpu.Tensor("fp16"), 16, BLOCK=64)
    gpu.compiles, gpu.launches

Triton does all that it does for a launch, up to the driver. Needs no torch.
"""

import hashlib
import os
from types import SimpleNamespace
from typing import Any


class Tensor:
    """What Triton wants to know of one; an address is aligned where it is divisible by 16."""

    def __init__(self, dtype: str, address: int = 4096) -> None:
        self.dtype = dtype
        self.address = address

    def data_ptr(self) -> int:
        return self.address

    def ptr_range(self) -> int:
        return 1 << 40


class Gpu:
    """A driver of Triton's, and what reached it."""

    def __init__(self, backend: str, arch: int | str) -> None:
        self.backend, self.arch = backend, arch
        self.device = 0
        self.compiles: list[str] = []
        """Names of the functions that were compiled."""
        self.hooked: list[str] = []
        """Names of the functions that Triton announced to compile."""
        self.launches: list[str] = []
        """SHA-256 of the binary of each launch."""
        self.utils = SimpleNamespace(
            load_binary=self._load,
            unload_module=lambda module: None,
            get_device_properties=lambda device: {"max_shared_mem": 232448, "warpSize": 32},
        )

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget(self.backend, self.arch, 32 if self.backend == "cuda" else 64)

    def get_current_device(self) -> int:
        return self.device

    def get_current_stream(self, device: object = None) -> int:
        return 0

    def get_benchmarker(self) -> Any:
        """As fast as the launch is late: an autotuner takes the last one that worked."""

        def bench(launch: Any, quantiles: object = None) -> list[float]:
            launch()
            return [1 / len(self.launches)] * 3

        return bench

    def launcher_cls(self, source: object, metadata: object) -> Any:
        def launch(x: int, y: int, z: int, stream: int, function: str, *rest: object) -> None:
            self.launches.append(function)

        return launch

    def _load(self, name: str, binary: bytes, shared: int, device: int) -> tuple[Any, ...]:
        assert binary[:4] == b"\x7fELF" and name.encode() in binary
        return object(), hashlib.sha256(binary).hexdigest(), 32, 0, 1024


def plug_in(backend: str, arch: int | str) -> Gpu:
    """Have Triton find that GPU, and nothing else, and tell what it compiles."""
    import triton.compiler
    from triton import knobs
    from triton.runtime import driver

    gpu = Gpu(backend, arch)
    driver.set_active(gpu)
    compile = triton.compiler.compile

    def counted(source: Any, *args: Any, **kwargs: Any) -> Any:
        gpu.compiles.append(source.name)
        return compile(source, *args, **kwargs)

    triton.compiler.compile = counted
    knobs.runtime.jit_cache_hook = lambda fn, **more: gpu.hooked.append(fn.name) and None
    return gpu


def cached() -> list[str]:
    """What Triton has put into its cache directory."""
    root = os.environ["TRITON_CACHE_DIR"]
    return [name for _, _, names in os.walk(root) for name in names]
