"""Loads what is shipped, and launches device code with nothing but its driver.

    matmul = _aot.select("matmul", device, BM=128, BN=128).load(device)
    matmul((m // 128, n // 128), a, b, c, m, n, k)

Device code was compiled for arguments of certain types, alignments and values; a launch checks that
it gets them.
"""

from __future__ import annotations

import ctypes
import math
import operator
import struct
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from ._artifact import Artifact, AssumptionError
from ._gpu import Cuda, Hip

_CODE = (".cubin", ".hsaco")
_GPUS = {"cuda": Cuda, "hip": Hip}
_INTEGERS = {
    f"{sign}{bits}": getattr(ctypes, f"c_{'u' * (sign == 'u')}int{max(bits, 8)}")
    for sign in "iu"
    for bits in (1, 8, 16, 32, 64)
}
_FLOATS = {"fp32": ctypes.c_float, "f32": ctypes.c_float, "fp64": ctypes.c_double}
_DTYPES = {
    "bool": "i1", "float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float64": "fp64",
    "float8_e4m3fn": "fp8e4nv", "float8_e4m3fnuz": "fp8e4b8", "float8_e5m2": "fp8e5",
    "float8_e5m2fnuz": "fp8e5b16", **{f"int{b}": f"i{b}" for b in (8, 16, 32, 64)},
    **{f"uint{b}": f"u{b}" for b in (8, 16, 32, 64)},
}  # fmt: skip
"""What Triton calls the elements of a tensor."""
_2GIB = 2**31


def load(artifact: Artifact, device: object = None, symbol: str | None = None) -> Any:
    """A `ctypes.CDLL` of a library; of device code its Launcher on a GPU.

    Raises ValueError where there are several files, or several kernels and no `symbol` of one;
    ImportError without the GPU's driver.
    """
    if len(artifact.files) != 1:
        raise ValueError(f"{artifact!r} has {len(artifact.files)} files: load one of them")
    if not artifact.path.endswith(_CODE):
        return ctypes.CDLL(artifact.path)
    kernel = _kernel(artifact, symbol)
    return Launcher(artifact, _GPUS[artifact.target.partition(":")[0]](_index(device)), kernel)


def _kernel(artifact: Artifact, symbol: str | None) -> dict[str, Any]:
    """What is known of one kernel of a file: `symbol`, `shared`, `args` and the rest."""
    found = artifact.metadata
    several = {entry["symbol"]: entry for entry in found.get("symbols", ())}
    if symbol is None and "symbol" in found:
        return found
    if symbol in several:
        return {**found, **several[symbol]}
    if symbol is not None and symbol == found.get("symbol"):
        return found
    names = ", ".join(sorted(several)) or found.get("symbol", "none")
    asked = "name one as symbol=" if symbol is None else f"{symbol!r} is none of them"
    raise ValueError(f"{artifact!r} holds the kernels {names}: {asked}")


class Shape(NamedTuple):
    """The extent of a launch: sizes of the grid and of a block in x, y, z; shared bytes."""

    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared: int
    cluster: int
    cooperative: bool
    pdl: bool


class Launcher:
    """Device code of one variant, loaded on one GPU."""

    def __init__(
        self, artifact: Artifact, gpu: Any, kernel: Mapping[str, Any] | None = None
    ) -> None:
        """`kernel` is the metadata of the one to launch, by default the artifact's own."""
        self._found = found = artifact.metadata if kernel is None else kernel
        self.artifact = artifact
        self._gpu = gpu
        self._scratch: list[tuple[int, int]] = [tuple(s) for s in found.get("scratch", {}).values()]
        args = found["args"][: len(found["args"]) - len(self._scratch)]
        self._types: dict[str, Any] = {
            arg.get("name", f"arg{index}"): arg.get("type", arg.get("size"))
            for index, arg in enumerate(args)
        }
        self._assumes: dict[str, Any] = found.get("assumes", {})
        self._within_2gb: list[str] = found.get("within_2gb", [])
        with gpu.current():
            shared, cluster = found.get("shared", 0), found.get("num_ctas", 1)
            self._kernel = gpu.load(artifact.bytes, found["symbol"], shared, cluster)

    def __call__(
        self,
        grid: int | tuple[int, ...],
        /,
        *args: object,
        stream: object = None,
        block: int | tuple[int, ...] | None = None,
        **named: object,
    ) -> None:
        """Launch it: `grid` is the number of blocks in x, y, z.

        Arguments are those of the function, without what was constant when it was compiled (which
        may be passed by name, to be checked). A pointer is whatever has `data_ptr()`, an address,
        or None. `stream` is an address or torch's; by default torch's current one. `block` is for
        code that does not know its number of threads.

        Raises AssumptionError, TypeError, OverflowError, and what the driver raises.
        """
        values = self._bound(args, named)
        for name, value in values.items():
            _check_kind(name, self._types[name], value)
            self._check(name, value)
        packed = [_packed(name, self._types[name], value) for name, value in values.items()]
        shape = self._shape(grid, block)
        if not math.prod(shape.grid):
            return
        with ExitStack() as held:
            held.enter_context(self._gpu.current())
            address = self._gpu.stream(stream)
            for size, align in self._scratch:
                size *= math.prod(shape.grid) * shape.cluster
                room = self._gpu.scratch(size + align, address) if size else None
                begin = held.enter_context(room) if room else 0
                packed.append(ctypes.c_uint64(-(-begin // align) * align))
            self._gpu.launch(self._kernel, shape, address, packed)

    launch = __call__

    def _shape(self, grid: Any, block: Any) -> Shape:
        found = self._found
        if block is None and "num_warps" in found:
            block = found["num_warps"] * found["warp_size"]
        if block is None:
            raise TypeError(f"{self!r} does not know its number of threads: pass block=")
        return Shape(
            _three(grid),
            _three(block),
            found.get("shared", 0),
            found.get("num_ctas", 1),
            found.get("cooperative", False),
            found.get("pdl", False),
        )

    def _bound(self, args: tuple[object, ...], named: Mapping[str, object]) -> dict[str, object]:
        """The value of each parameter, in the order of the ABI."""
        names = list(self._types)
        if len(args) > len(names):
            raise TypeError(f"{self!r} takes {len(names)} arguments: {', '.join(names)}")
        bound = dict(zip(names, args))  # noqa: B905
        for name, value in named.items():
            if name in bound:
                raise TypeError(f"{name!r} is passed to {self!r} twice")
            if name in self._types:
                bound[name] = value
            elif name not in self._assumes:
                raise TypeError(f"{self!r} takes no {name!r}; it takes {', '.join(names)}")
            elif not _is(value, self._assumes[name]):
                raise self._refused(name, f"is {self._assumes[name]!r}", repr(value))
        missing = [name for name in names if name not in bound]
        if missing:
            raise TypeError(f"{self!r} lacks {', '.join(missing)}")
        return {name: bound[name] for name in names}

    def _check(self, name: str, value: Any) -> None:
        kind = self._types[name]
        pointer = isinstance(kind, str) and kind.startswith("*")
        if name in self._assumes:
            number, by = _address(name, value) if pointer else value, self._assumes[name]
            if number % by:
                what = "an address" if pointer else "a number"
                raise self._refused(name, f"is {what} divisible by {by}", str(number))
        if name in self._within_2gb and _extent(value) >= _2GIB:
            raise self._refused(name, "spans less than 2 GiB", f"{_extent(value)} bytes")
        dtype = _DTYPES.get(str(getattr(value, "dtype", "")).rpartition(".")[2])
        if pointer and dtype and dtype != kind.lstrip("*k"):
            raise self._refused(name, f"has elements of {kind.lstrip('*k')}", dtype)

    def _refused(self, name: str, assumed: str, came: str) -> AssumptionError:
        return AssumptionError(f"{self!r} was compiled for a {name!r} that {assumed}: got {came}")

    def __repr__(self) -> str:
        return repr(self.artifact)


def _check_kind(name: str, kind: Any, value: Any) -> None:
    """Raise TypeError, naming the argument, for a number that is none."""
    if isinstance(kind, str) and not kind.startswith("*"):
        wanted: Any = operator.index if kind in _INTEGERS else float
        try:
            wanted(value)
        except (TypeError, ValueError):
            raise TypeError(
                f"{name!r} is of type {kind}, not {type(value).__name__} {value!r}"
            ) from None
        if isinstance(value, str):
            raise TypeError(f"{name!r} is of type {kind}, not {type(value).__name__} {value!r}")


def _index(device: Any) -> int | None:
    """A torch device, an index, `cuda:1`."""
    if isinstance(device, str):
        number = device.partition(":")[2]
        return int(number) if number else None
    index = getattr(device, "index", device)
    return None if index is None else int(index)


def _three(sizes: Any) -> tuple[int, ...]:
    given = tuple(map(operator.index, sizes if isinstance(sizes, (list, tuple)) else (sizes,)))
    return given + (1,) * (3 - len(given))


def _is(value: object, assumed: object) -> bool:
    """Equal, where True is not 1."""
    return isinstance(value, bool) == isinstance(assumed, bool) and bool(value == assumed)


def _address(name: str, value: Any) -> int:
    if hasattr(value, "data_ptr"):
        place = getattr(getattr(value, "device", None), "type", "")
        if place == "cpu" and not value.is_pinned():
            raise TypeError(f"{name!r} is a tensor on the CPU, which a GPU cannot read")
        return int(value.data_ptr())
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value or 0
    raise TypeError(f"{name!r} is a pointer: pass a tensor, an address or None, not {value!r}")


def _extent(value: Any) -> int:
    """Bytes of the memory that a tensor lies in; of a bare address nobody knows."""
    if value is None:
        return 0
    if hasattr(value, "untyped_storage"):
        return int(value.untyped_storage().nbytes())
    return int(getattr(value, "nbytes", _2GIB))


def _packed(name: str, kind: Any, value: Any) -> Any:
    """An argument as ctypes has it; `kind` is Triton's name of the type, or a number of bytes.

    Of CUDA C++ only sizes are known: 2 for a `float` would be packed as an integer. Pass 2.0, or
    ctypes.c_float(2), which is taken as it is.
    """
    if isinstance(value, ctypes._SimpleCData):
        return value
    if isinstance(kind, int):
        kind = _of_size(name, kind, value)
    if kind.startswith("*"):
        return ctypes.c_uint64(_address(name, value))
    if kind in _INTEGERS:
        packed = _INTEGERS[kind](operator.index(value))
        if packed.value != value:
            raise OverflowError(f"{name!r} does not fit {kind}: {value}")
        return packed
    if kind in _FLOATS:
        return _FLOATS[kind](value)
    if kind == "fp16":
        return ctypes.c_uint16(int.from_bytes(struct.pack("<e", value), "little"))
    if kind == "bf16":  # cut off, as Triton's own launcher does
        return ctypes.c_uint16(int.from_bytes(struct.pack("<f", value)[2:], "little"))
    raise TypeError(f"{name!r} is of type {kind}, which cannot be passed here")


def _of_size(name: str, size: int, value: Any) -> str:
    """The type of a parameter of which nothing is known but its size in bytes."""
    if isinstance(value, float) and size in (4, 8):
        return f"fp{size * 8}"
    if isinstance(value, int) and size in (1, 2, 4, 8):
        return f"{'i' if value < 0 or value < 1 << (size * 8 - 1) else 'u'}{size * 8}"
    if size == 8:
        return "*"
    raise TypeError(f"{name!r} takes {size} bytes: {value!r} cannot be passed for that")
