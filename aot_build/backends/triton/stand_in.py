"""A driver, and torch's device queries, that describe a target: nothing runs on a device.

Host code asks what it runs on, when it is imported and when it launches, and chooses kernels,
constants and warps by the answer. Here the answers are the target's, for the rest of the process.
Tensors are real, small and on the CPU, and say that they are on the GPU: that is asked as well.
They say so by the class, as a torch function mode is switched off inside of autograd functions.
"""

import contextlib
import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

from aot_build.backends.triton.compile import gpu_target
from aot_build.core.hardware import MAX_THREADS, Hardware, hardware_of
from aot_build.core.target import Target

_INERT = (
    "_lazy_init", "empty_cache", "init", "set_device", "set_stream", "synchronize",
)  # fmt: skip
_NOWHERE = ("device", "device_of", "stream")
_CLASSES = ("Event", "Stream")
_ANSWERED = (
    "_exchange_device", "_maybe_exchange_device", "current_device", "current_stream",
    "default_stream", "device_count", "get_arch_list", "get_device_capability", "get_device_name",
    "get_device_properties", "is_available", "is_bf16_supported", "is_current_stream_capturing",
    "is_initialized", "max_memory_allocated", "mem_get_info", "memory_allocated",
)  # fmt: skip
HIP_VERSION, CUDA_VERSION = "7.0.51831", "13.0"
_CREATES = (
    "arange", "as_tensor", "empty", "empty_like", "empty_permuted", "empty_strided", "eye", "full",
    "full_like", "linspace", "logspace", "ones", "ones_like", "rand", "rand_like", "randint",
    "randint_like", "randn", "randn_like", "randperm", "tensor", "zeros", "zeros_like",
)  # fmt: skip
_CREATES_LIKE = (
    "new_empty", "new_empty_strided", "new_full", "new_ones", "new_tensor", "new_zeros",
)  # fmt: skip


class StandIn:
    """What Triton asks a driver; see triton.backends.driver."""

    def __init__(self, target: Target) -> None:
        self._target = gpu_target(target)
        self._hardware = hardware_of(target)
        self.utils = SimpleNamespace(
            get_device_properties=self._properties, load_binary=_nothing_runs
        )
        self.launcher_cls = _nothing_runs

    def _properties(self, device: object = 0) -> dict[str, Any]:
        h = self._hardware
        return {
            "max_shared_mem": h.shared_memory,
            "max_num_regs": 65536,
            "multiprocessor_count": h.processors,
            "warpSize": h.warp_size,
            "sm_clock_rate": 1_700_000,
            "mem_clock_rate": 2_600_000,
            "mem_bus_width": 5120,
            "arch": h.arch,
        }

    def get_current_target(self) -> Any:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def set_current_device(self, device: object) -> None:
        pass

    def get_current_stream(self, device: object = None) -> int:
        return 0

    def get_device_capability(self, device: object = None) -> tuple[int, int]:
        return self._hardware.capability

    def get_active_torch_device(self) -> Any:
        import torch

        return torch.device("cuda", 0)

    def get_device_interface(self) -> Any:
        import torch

        return torch.cuda

    def get_benchmarker(self) -> Callable[..., list[float]]:
        return run_once

    def get_empty_cache_for_benchmark(self) -> Any:
        import torch

        return torch.empty(1)

    def clear_cache(self, cache: Any) -> None:
        pass

    def map_python_to_cpp_type(self, kind: str) -> str:
        return kind


def run_once(kernel_call: Callable[[], object], quantiles: Sequence[float] = (0.5,)) -> list[float]:
    """A benchmark of one call: nothing is measured, all configurations are alike."""
    kernel_call()
    return [1.0] * len(quantiles)


def _nothing_runs(*args: object, **kwargs: object) -> Any:
    raise RuntimeError("nothing runs on a device while kernels are being built")


def describe(target: Target) -> None:
    """Make Triton's driver describe the target, and torch as soon as somebody imports it."""
    from triton.runtime.driver import driver

    # First the driver: once torch says that there is a GPU, Triton would look for its own.
    driver.set_active(StandIn(target))
    if "torch" in sys.modules:
        _describe_torch(sys.modules["torch"], target)
    else:
        sys.meta_path.insert(0, _Torch(target))


class _Torch:
    """Finds torch where it lies, and has it describe the target once it is imported.

    It takes seconds to import, which a module of kernels may have no need of.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._loader: Any = None

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """See importlib.abc.MetaPathFinder."""
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            self._loader, spec.loader = spec.loader, self  # type: ignore[assignment]
        return spec

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """See importlib.abc.Loader."""
        found: ModuleType | None = self._loader.create_module(spec)
        return found

    def exec_module(self, module: ModuleType) -> None:
        """See importlib.abc.Loader."""
        self._loader.exec_module(module)
        _describe_torch(module, self._target)


def replaced(torch: ModuleType) -> Iterator[tuple[Any, str]]:
    """What `describe` replaces in torch, as an owner and a name; methods of tensors left out, which
    are looked up where they are called."""
    for name in (*_ANSWERED, *_INERT, *_NOWHERE, *_CLASSES):
        yield torch.cuda, name
    for name in (*_CREATES, "Generator"):
        yield torch, name


def _describe_torch(torch: ModuleType, target: Target) -> None:
    _describe_version(torch, target)
    _describe_cuda(torch, hardware_of(target), target.kind)
    _claim_tensors(torch)


def _describe_version(torch: ModuleType, target: Target) -> None:
    hip = target.kind == "hip"
    torch.version.hip = HIP_VERSION if hip else None
    torch.version.cuda = None if hip else CUDA_VERSION


def _describe_cuda(torch: ModuleType, hardware: Hardware, kind: str) -> None:
    answers = {
        "is_available": True,
        "is_initialized": True,
        "is_bf16_supported": hardware.capability >= (8, 0) or kind == "hip",
        "device_count": 1,
        "current_device": 0,
        "get_device_name": hardware.name,
        "get_device_capability": hardware.capability,
        "get_arch_list": [hardware.arch],
        "mem_get_info": (hardware.memory, hardware.memory),
        "memory_allocated": 0,
        "max_memory_allocated": 0,
        "get_device_properties": _device_properties(hardware, kind),
        "current_stream": _Stream(),
        "default_stream": _Stream(),
        "is_current_stream_capturing": False,
        "_exchange_device": 0,
        "_maybe_exchange_device": 0,
    }
    assert sorted(answers) == sorted(_ANSWERED)
    for name, answer in answers.items():
        setattr(torch.cuda, name, _always(answer))
    # Each an object of its own: torch's compiler keeps tables of functions by identity.
    for name in _INERT:
        setattr(torch.cuda, name, _always(None))
    for name in _NOWHERE:
        setattr(torch.cuda, name, type(name, (_Nowhere,), {}))
    for name, inert in zip(_CLASSES, (_Event, _Stream), strict=True):
        setattr(torch.cuda, name, inert)


def _device_properties(hardware: Hardware, kind: str) -> SimpleNamespace:
    suffix = ":sramecc+:xnack-" if kind == "hip" and hardware.warp_size == 64 else ""
    return SimpleNamespace(
        name=hardware.name,
        major=hardware.capability[0],
        minor=hardware.capability[1],
        total_memory=hardware.memory,
        multi_processor_count=hardware.processors,
        warp_size=hardware.warp_size,
        max_threads_per_multi_processor=2 * MAX_THREADS,
        max_threads_per_block=MAX_THREADS,
        regs_per_multiprocessor=65536,
        shared_memory_per_block=min(hardware.shared_memory, 48 << 10)
        if kind == "cuda"
        else hardware.shared_memory,
        shared_memory_per_block_optin=hardware.shared_memory,
        shared_memory_per_multiprocessor=hardware.shared_memory,
        L2_cache_size=50 << 20,
        is_integrated=0,
        gcnArchName=hardware.arch + suffix if kind == "hip" else "",
    )


class _Event:
    """An event of work that is not done."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        for name in ("record", "synchronize", "wait"):
            setattr(self, name, _always(None))
        self.query = _always(True)
        self.elapsed_time = _always(1.0)


class _Stream:
    """A stream that nothing runs on."""

    cuda_stream = 0

    def __init__(self, *args: object, **kwargs: object) -> None:
        for name in ("synchronize", "wait_event", "wait_stream"):
            setattr(self, name, _always(None))
        self.query = _always(True)

    def record_event(self, event: object = None) -> object:
        """An event, given or new."""
        return event or _Event()


class _Nowhere(contextlib.nullcontext[None]):
    """`with torch.cuda.device(0)`: there is nowhere to go."""

    def __init__(self, *args: object) -> None:
        super().__init__()


def _always(answer: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: answer


# Tensors


def _claim_tensors(torch: ModuleType) -> None:
    """Have tensors say that they are on the GPU, and make those that are asked for there."""
    gpu = torch.device("cuda", 0)
    tensor, base = torch.Tensor, torch._C.TensorBase
    tensor.device = property(_always(gpu))
    tensor.is_cuda = property(_always(True))
    tensor.is_cpu = property(_always(False))
    tensor.get_device = _always(0)
    for name in ("cuda", "cpu", "pin_memory"):
        setattr(tensor, name, lambda self, *args, **kwargs: self)
    tensor.to = _on_cpu(base.to)
    for name in _CREATES_LIKE:
        setattr(tensor, name, _on_cpu(getattr(base, name)))
    for name in _CREATES:
        setattr(torch, name, _on_cpu(getattr(torch, name)))
    original = torch.Generator
    on_cpu = {"__new__": lambda cls, device=None: original.__new__(cls, "cpu")}
    generator = type("Generator", (original,), on_cpu)
    setattr(torch, "Generator", generator)  # noqa: B010 (mypy holds torch's for final)


def _on_cpu(create: Callable[..., Any]) -> Callable[..., Any]:
    """`create` with every device among its arguments replaced by the CPU."""

    @functools.wraps(create)
    def created(*args: Any, **kwargs: Any) -> Any:
        return create(
            *_replaced(args), **dict(zip(kwargs, _replaced(kwargs.values()), strict=True))
        )

    return created


def _replaced(values: Any) -> Iterator[Any]:
    import torch

    for value in values:
        gpu = isinstance(value, torch.device) or (isinstance(value, str) and _is_gpu(value))
        yield torch.device("cpu") if gpu else value


def _is_gpu(text: str) -> bool:
    return text.partition(":")[0] in ("cuda", "hip")
