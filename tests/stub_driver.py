"""A GPU that is not there: ordinary Triton launches go all the way to a driver that notes them.

    gpu = stub_driver.plug_in("cuda:sm_90a")    # before anything asks what it runs on
    ...                                         # import packages, launch kernels
    gpu.compiles, gpu.launches                  # what Triton compiled; what reached the "device"

Torch's device queries describe the same GPU, and its tensors, which live on the CPU, say that they
are there: packages choose kernels and constants by both. The process is lost to anything else.
Independent of the stand-in that builds capture launches with, so that each checks the other.
"""

import functools
import hashlib
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Model:
    """One GPU, as its driver and torch describe it."""

    backend: str
    arch: int | str
    warp_size: int
    name: str
    capability: tuple[int, int]
    shared_memory: int
    processors: int
    gcn_arch: str = ""


MODELS = {
    "cuda:sm_90a": Model("cuda", 90, 32, "NVIDIA H200", (9, 0), 232448, 132),
    "hip:gfx942": Model(
        "hip", "gfx942", 64, "AMD Instinct MI300X", (9, 4), 65536, 304, "gfx942:sramecc+:xnack-"
    ),
    "hip:gfx950": Model(
        "hip", "gfx950", 64, "AMD Instinct MI355X", (9, 5), 163840, 256, "gfx950:sramecc+:xnack-"
    ),
}


@dataclass
class Gpu:
    """What happened so far."""

    model: Model
    compiles: list[str] = field(default_factory=list)
    """Names of the functions that Triton compiled, in order."""
    launches: list[tuple[str, str]] = field(default_factory=list)
    """Symbol and SHA-256 of the binary of each launch, in order."""


def plug_in(target: str) -> Gpu:
    """Have Triton and torch find that GPU, and nothing else."""
    import torch
    import triton.compiler
    from triton.runtime import driver

    gpu = Gpu(MODELS[target])
    # First the driver: Triton looks for one of its own as soon as torch tells of a GPU.
    driver.set_active(_Driver(gpu))
    triton.compiler.compile = _counting(triton.compiler.compile, gpu)
    _describe(torch, gpu.model)
    _claim_tensors(torch)
    return gpu


class _Driver:
    """triton.backends.driver.GPUDriver, as far as launches and autotuners use it."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self.utils = types.SimpleNamespace(
            load_binary=self._load,
            unload_module=lambda module: None,
            get_device_properties=lambda device: {
                "max_shared_mem": gpu.model.shared_memory,
                "multiprocessor_count": gpu.model.processors,
                "warpSize": gpu.model.warp_size,
            },
        )

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget(self._gpu.model.backend, self._gpu.model.arch, self._gpu.model.warp_size)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: object = None) -> int:
        return 0

    def get_benchmarker(self) -> Callable[..., list[float]]:
        def once(
            launch: Callable[[], object], quantiles: tuple[float, ...] = (0.5,)
        ) -> list[float]:
            launch()
            return [1.0] * len(quantiles)

        return once

    def launcher_cls(self, source: object, metadata: object) -> Callable[..., None]:
        def launch(
            x: int, y: int, z: int, stream: int, function: tuple[str, str], *rest: object
        ) -> None:
            assert min(x, y, z) > 0, "an empty grid"
            self._gpu.launches.append(function)

        return launch

    def _load(
        self, name: str, binary: bytes, shared: int, device: int
    ) -> tuple[object, tuple[str, str], int, int, int]:
        assert binary[:4] == b"\x7fELF" and name.encode() in binary, name
        assert shared <= self._gpu.model.shared_memory, f"{name} needs {shared} bytes"
        return object(), (name, hashlib.sha256(binary).hexdigest()), 32, 0, 1024


def _once(launch: Callable[[], object], quantiles: tuple[float, ...] = (0.5,)) -> list[float]:
    """A benchmark in which all configurations are alike."""
    launch()
    return [1.0] * len(quantiles)


def _counting(compile: Callable[..., Any], gpu: Gpu) -> Callable[..., Any]:
    """`triton.compile`, noted: JIT functions look it up when they are first launched."""

    @functools.wraps(compile)
    def counted(source: Any, *args: Any, **kwargs: Any) -> Any:
        gpu.compiles.append(source.name)
        return compile(source, *args, **kwargs)

    return counted


def _describe(torch: Any, model: Model) -> None:
    amd = model.backend == "hip"
    torch.version.hip = "7.0.51831" if amd else None
    torch.version.cuda = None if amd else "13.0"
    properties = types.SimpleNamespace(
        name=model.name,
        major=model.capability[0],
        minor=model.capability[1],
        multi_processor_count=model.processors,
        shared_memory_per_block=min(model.shared_memory, 65536 if amd else 49152),
        shared_memory_per_block_optin=model.shared_memory,
        warp_size=model.warp_size,
        total_memory=1 << 37,
        gcnArchName=model.gcn_arch,
    )
    answers = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_name": model.name,
        "get_device_capability": model.capability,
        "get_device_properties": properties,
        "_exchange_device": 0,
        "_maybe_exchange_device": 0,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, _answering(answer))


def _claim_tensors(torch: Any) -> None:
    """By the class, as torch function modes are off inside of autograd's functions."""
    from torch.utils._device import _device_constructors

    tensor, base = torch.Tensor, torch._C.TensorBase
    tensor.device = property(_answering(torch.device("cuda", 0)))
    tensor.is_cuda = property(_answering(True))
    tensor.get_device = _answering(0)
    tensor.to = _on_cpu(base.to)
    for name in ("cuda", "cpu"):
        setattr(tensor, name, lambda self, *args, **kwargs: self)
    for name in ("new_empty", "new_zeros", "new_ones", "new_full", "new_tensor"):
        setattr(tensor, name, _on_cpu(getattr(base, name)))
    for create in _device_constructors():
        if getattr(torch, create.__name__, None) is create:
            setattr(torch, create.__name__, _on_cpu(create))


def _on_cpu(create: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(create)
    def created(*args: Any, **kwargs: Any) -> Any:
        words = [_cpu(value) for value in args]
        return create(*words, **{name: _cpu(value) for name, value in kwargs.items()})

    return created


def _cpu(value: Any) -> Any:
    named = isinstance(value, str) and value.partition(":")[0] == "cuda"
    return "cpu" if named or type(value).__name__ == "device" else value


def _answering(answer: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: answer
