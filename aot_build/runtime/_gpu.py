"""GPUs by the driver package of their vendor: cuda-core for NVIDIA, hip-python for AMD.

A stream is an address: that of torch's current stream where torch is imported, else 0, the default
stream. Memory comes from torch where that is imported, which then also says which GPU is current.
"""

from __future__ import annotations

import abc
import contextlib
import ctypes
import importlib
import sys
from collections.abc import Iterator
from typing import Any

_ALWAYS_THERE = 48 * 1024
"""Bytes of dynamic shared memory that CUDA grants unasked."""
_PORTABLE_CLUSTER = 8


class Gpu(abc.ABC):
    """One GPU: what both vendors' have in common. `device` is an index; None is the current one."""

    def __init__(self, device: int | None) -> None:
        torch = sys.modules.get("torch")
        self.torch = torch if torch is not None and torch.cuda.is_available() else None
        if device is None:
            device = self.torch.cuda.current_device() if self.torch is not None else 0
        self.index: int = device

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make it the current GPU; with torch only for so long."""
        if self.torch is None:
            self.make_current()
            yield
        else:
            with self.torch.cuda.device(self.index):
                yield

    @abc.abstractmethod
    def make_current(self) -> None:
        """Make it the current GPU of this thread."""

    def stream(self, stream: object) -> int:
        """The address of a stream, given as such, as torch's, or as one of CUDA's Python world."""
        if stream is None and self.torch is not None:
            stream = self.torch.cuda.current_stream(self.index)
        protocol = getattr(stream, "__cuda_stream__", None)
        if protocol is not None:
            return int(protocol()[1])
        found: Any = getattr(stream, "cuda_stream", stream)
        return int(found or 0)

    @contextlib.contextmanager
    def scratch(self, size: int, stream: int) -> Iterator[int]:
        """The address of memory for what is launched on a stream before this ends."""
        if self.torch is None:
            with self.memory(size, stream) as address:
                yield address
        else:
            cuda = self.torch.cuda
            with cuda.stream(cuda.ExternalStream(stream, self.index)):
                held = self.torch.empty(size, dtype=self.torch.uint8, device=f"cuda:{self.index}")
                yield held.data_ptr()

    @abc.abstractmethod
    def memory(self, size: int, stream: int) -> contextlib.AbstractContextManager[int]:
        """The same without torch."""


class Cuda(Gpu):
    """A GPU of NVIDIA. Raises ImportError without cuda-core."""

    def __init__(self, device: int | None) -> None:
        super().__init__(device)
        self._core = _needed("cuda.core", "cuda")
        self._driver = _needed("cuda.bindings.driver", "cuda")
        self._device = self._core.Device(self.index)

    def make_current(self) -> None:
        """See Gpu."""
        self._device.set_current()

    def load(self, image: bytes, symbol: str, shared: int, cluster: int) -> Any:
        """A kernel of a cubin."""
        kernel = self._core.ObjectCode.from_cubin(image).get_kernel(symbol)
        attribute = self._driver.CUfunction_attribute
        if shared > _ALWAYS_THERE:
            self._set(kernel, attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared)
        if cluster > _PORTABLE_CLUSTER:
            self._set(kernel, attribute.CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1)
        return kernel

    def _set(self, kernel: Any, attribute: Any, value: int) -> None:
        call = self._driver.cuKernelSetAttribute
        (error,) = call(attribute, value, kernel.handle, self._driver.CUdevice(self.index))
        if error != self._driver.CUresult.CUDA_SUCCESS:
            raise RuntimeError(f"{attribute.name} cannot be {value}: {error.name}")

    def launch(self, kernel: Any, shape: Any, stream: int, values: list[Any]) -> None:
        """Launch a kernel; `grid` counts clusters where there are any."""
        # An older cuda-core knows no programmatic launches; it is needed for those alone.
        pdl = {"programmatic_stream_serialization": True} if shape.pdl else {}
        config = self._core.LaunchConfig(
            grid=shape.grid,
            block=shape.block,
            cluster=(shape.cluster, 1, 1) if shape.cluster > 1 else None,
            shmem_size=shape.shared,
            is_cooperative=shape.cooperative,
            **pdl,
        )
        self._core.launch(self._stream(stream), config, kernel, *values)

    @contextlib.contextmanager
    def memory(self, size: int, stream: int) -> Iterator[int]:
        """See Gpu."""
        buffer = self._device.allocate(size, stream=self._stream(stream))
        try:
            yield int(buffer.handle)
        finally:
            buffer.close(self._stream(stream))

    def _stream(self, stream: int) -> Any:
        return self._core.Stream.from_handle(stream) if stream else self._device.default_stream


class Hip(Gpu):
    """A GPU of AMD. Raises ImportError without hip-python."""

    def __init__(self, device: int | None) -> None:
        super().__init__(device)
        self._hip = _needed("hip", "hip").hip

    def make_current(self) -> None:
        """See Gpu."""
        self._call("hipSetDevice", self.index)

    def load(self, image: bytes, symbol: str, shared: int, cluster: int) -> Any:
        """A kernel of an hsaco, with the module that it lives in."""
        (module,) = self._call("hipModuleLoadData", image)
        (function,) = self._call("hipModuleGetFunction", module, symbol.encode())
        return module, function

    def launch(self, kernel: Any, shape: Any, stream: int, values: list[Any]) -> None:
        """Launch a kernel."""
        sizes = (*shape.grid, *shape.block, shape.shared)
        addresses = [ctypes.addressof(value) for value in values]
        if shape.cooperative:
            call, more = "hipModuleLaunchCooperativeKernel", []
        else:
            call, more = "hipModuleLaunchKernel", [None]
        self._call(call, kernel[1], *sizes, stream, addresses, *more)

    @contextlib.contextmanager
    def memory(self, size: int, stream: int) -> Iterator[int]:
        """See Gpu."""
        (held,) = self._call("hipMallocAsync", size, stream)
        try:
            yield int(held)
        finally:
            self._call("hipFreeAsync", held, stream)

    def _call(self, name: str, *args: object) -> tuple[Any, ...]:
        error, *rest = getattr(self._hip, name)(*args)
        if error != self._hip.hipError_t.hipSuccess:
            raise RuntimeError(f"{name}: {error}")
        return tuple(rest)


def _needed(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        command = f"pip install 'aot-build[{extra}]'"
        raise ImportError(f"launching this needs {module}: {command}", name=module) from error
