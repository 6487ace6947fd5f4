"""load(): libraries by ctypes; device code by a driver, with every assumption checked.

No GPU is needed: what reaches the driver is recorded at the seam behind which the vendors' packages
are. What happens behind it needs a GPU, and is not tested here.
"""

import contextlib
import ctypes
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aot_build.runtime import _gpu, _launch

ARGS = [("a", "*fp16"), ("b", "*i8"), ("M", "i32"), ("N", "i64"), ("eps", "fp32"), ("on", "i1")]
SCRATCH = [("global_scratch", "*i8"), ("profile_scratch", "*i8")]
METADATA = {
    "symbol": "matmul_kernel",
    "arch": "sm_90a",
    "shared": 49152,
    "num_warps": 4,
    "warp_size": 32,
    "num_ctas": 2,
    "args": [{"name": name, "type": kind} for name, kind in ARGS + SCRATCH],
    "assumes": {"a": 16, "N": 16, "stride": 1, "bias": None},
    "scratch": {"global": [100, 128], "profile": [0, 1]},
    "cooperative": False,
    "pdl": True,
}


class Gpu:
    """Records what is loaded and launched; scratch begins at an address that is aligned to 8."""

    def __init__(self) -> None:
        self.log: list[Any] = []

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        self.log.append("current")
        yield
        self.log.append("left")

    def load(self, *what: object) -> str:
        self.log.append(("load", *what))
        return "kernel"

    def stream(self, stream: object) -> int:
        return 77 if stream is None else int(str(stream))

    @contextlib.contextmanager
    def scratch(self, size: int, stream: int) -> Iterator[int]:
        self.log.append(("scratch", size, stream))
        yield 1000
        self.log.append("freed")

    def launch(self, kernel: str, shape: Any, stream: int, values: list[Any]) -> None:
        found = [(type(value).__name__, value.value) for value in values]
        self.log.append(("launch", kernel, shape, stream, found))


class Tensor:
    def __init__(self, address: int, dtype: str = "float16", nbytes: int = 64) -> None:
        self.address, self.dtype, self.nbytes = address, f"torch.{dtype}", nbytes

    def data_ptr(self) -> int:
        return self.address


def launcher(metadata: dict[str, Any] | None = None, gpu: Any = None) -> Any:
    artifact = SimpleNamespace(metadata=metadata or METADATA, bytes=b"\x7fELF")
    return _launch.Launcher(artifact, gpu or Gpu())  # type: ignore[arg-type]


def good() -> dict[str, Any]:
    return {"a": Tensor(4096), "b": 3, "M": -5, "N": 2**40, "eps": 0.5, "on": True}


def test_arguments_reach_the_driver_as_the_kernel_takes_them() -> None:
    gpu = Gpu()
    launch = launcher(gpu=gpu)
    assert gpu.log == ["current", ("load", b"\x7fELF", "matmul_kernel", 49152, 2), "left"]
    gpu.log.clear()
    a = Tensor(4096)
    launch((3, 4), a, None, -5, 2**40, 0.5, True)
    begin, scratch, (_, kernel, shape, stream, values), *end = gpu.log
    assert (begin, scratch, end) == (
        "current",
        ("scratch", 3 * 4 * 2 * 100 + 128, 77),
        ["freed", "left"],
    )
    assert (kernel, stream) == ("kernel", 77)
    assert shape._asdict() == {
        "grid": (3, 4, 1),
        "block": (128, 1, 1),
        "shared": 49152,
        "cluster": 2,
        "cooperative": False,
        "pdl": True,
    }
    assert values == [
        ("c_ulong", 4096),
        ("c_ulong", 0),
        ("c_int", -5),
        ("c_long", 2**40),
        ("c_float", 0.5),
        ("c_byte", 1),
        ("c_ulong", 1024),  # the next multiple of 128
        ("c_ulong", 0),
    ]


def test_arguments_have_names() -> None:
    gpu = Gpu()
    launch = launcher(gpu=gpu)
    a = Tensor(4096)
    launch(3, a, 0, -5, 2**40, 0.5, True, stream=5)
    launch.launch([3], a, 0, on=True, eps=0.5, N=2**40, M=-5, stride=1, bias=None, stream=5)
    first, second = (entry for entry in gpu.log if entry[0] == "launch")
    assert first == second
    assert first[3] == 5 and first[2].grid == (3, 1, 1)


def test_an_empty_grid_launches_nothing() -> None:
    gpu = Gpu()
    launcher(gpu=gpu)((0, 4), *good().values())
    assert not [entry for entry in gpu.log if entry[0] == "launch"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": Tensor(4104)}, r"a 'a' that is an address divisible by 16: got 4104"),
        ({"a": 4104}, r"a 'a' that is an address divisible by 16: got 4104"),
        ({"N": 24}, r"a 'N' that is a number divisible by 16: got 24"),
        ({"stride": 2}, r"a 'stride' that is 1: got 2"),
        ({"stride": True}, r"a 'stride' that is 1: got True"),
        ({"bias": Tensor(0)}, r"a 'bias' that is None: got <"),
        ({"a": Tensor(4096, "bfloat16")}, r"a 'a' that has elements of fp16: got bf16"),
        ({"b": Tensor(4096, "float16")}, r"a 'b' that has elements of i8: got fp16"),
    ],
)
def test_what_the_kernel_assumes_is_checked(change: dict[str, Any], message: str) -> None:
    gpu = Gpu()
    with pytest.raises(_launch.AssumptionError, match=message) as caught:
        launcher(gpu=gpu)(1, **{**good(), **change})
    assert isinstance(caught.value, ValueError)
    assert not [entry for entry in gpu.log if entry[0] == "launch"]


class Storage(Tensor):
    """A view of a larger tensor, as torch has it."""

    def untyped_storage(self) -> Any:
        return SimpleNamespace(nbytes=lambda: self.nbytes)


@pytest.mark.parametrize("kind", [Tensor, Storage])
def test_the_extent_of_tensors_is_checked(kind: type[Tensor]) -> None:
    launch = launcher({**METADATA, "within_2gb": ["a"]})
    for good_one in (kind(4096, nbytes=2**31 - 1), None):
        launch(1, **{**good(), "a": good_one})
    for bad in (kind(4096, nbytes=2**31), 4096):  # nobody knows what lies at an address
        with pytest.raises(
            _launch.AssumptionError, match="that spans less than 2 GiB: got 2147483648"
        ):
            launch(1, **{**good(), "a": bad})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"M": 2**31}, OverflowError, "'M' does not fit i32: 2147483648"),
        ({"M": 1.5}, TypeError, "float"),
        (
            {"a": "text"},
            TypeError,
            "'a' is a pointer: pass a tensor, an address or None, not 'text'",
        ),
        ({"a": True}, TypeError, "'a' is a pointer"),
        ({"eps": "x"}, TypeError, "fp32, not str"),
        ({"BLOCK": 128}, TypeError, "takes no 'BLOCK'; it takes a, b, M, N, eps, on"),
        ({"global_scratch": 0}, TypeError, "takes no 'global_scratch'"),
    ],
)
def test_what_is_no_argument_is_refused(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        launcher()(1, **{**good(), **change})


def test_the_number_of_arguments_is_checked() -> None:
    launch = launcher()
    with pytest.raises(TypeError, match="lacks N, on"):
        launch(1, 0, 0, 1, eps=1.0)
    with pytest.raises(TypeError, match="takes 6 arguments: a, b, M, N, eps, on"):
        launch(1, *range(7))
    with pytest.raises(TypeError, match=r"'a' is passed to .* twice"):
        launch(1, 0, a=0)


@pytest.mark.parametrize(
    ("kind", "value", "packed"),
    [
        ("i8", -128, ("c_byte", -128)),
        ("u8", 255, ("c_ubyte", 255)),
        ("i16", -1, ("c_short", -1)),
        ("u16", 65535, ("c_ushort", 65535)),
        ("u32", 2**32 - 1, ("c_uint", 2**32 - 1)),
        ("u64", 2**64 - 1, ("c_ulong", 2**64 - 1)),
        ("u1", True, ("c_ubyte", 1)),
        ("fp64", 0.1, ("c_double", 0.1)),
        ("fp16", 1.5, ("c_ushort", 0x3E00)),
        ("bf16", 1.01, ("c_ushort", struct.unpack("<I", struct.pack("<f", 1.01))[0] >> 16)),
        (8, 1.5, ("c_double", 1.5)),
        (8, 7, ("c_long", 7)),
        (8, 2**64 - 1, ("c_ulong", 2**64 - 1)),
        (8, Tensor(48), ("c_ulong", 48)),
        (8, None, ("c_ulong", 0)),
        (4, 1.5, ("c_float", 1.5)),
        (4, 7, ("c_int", 7)),
        (1, True, ("c_byte", 1)),
    ],
)
def test_every_type_is_packed(kind: Any, value: Any, packed: tuple[str, Any]) -> None:
    found = _launch._packed("x", kind, value)
    assert (type(found).__name__, found.value) == packed


@pytest.mark.parametrize(("kind", "value"), [("nvTmaDesc", 1), (4, None), (128, b""), (2, 0.5)])
def test_what_cannot_be_packed_says_so(kind: Any, value: Any) -> None:
    with pytest.raises(TypeError, match=r"'x' .* cannot be passed"):
        _launch._packed("x", kind, value)


def test_code_of_which_little_is_known() -> None:
    """Device code of CUDA C++: sizes of arguments without names, and no number of threads."""
    gpu = Gpu()
    launch = launcher({"symbol": "k", "args": [{"size": 8}, {"size": 4}]}, gpu)
    with pytest.raises(TypeError, match="pass block="):
        launch(1, Tensor(8), 3)
    launch(1, Tensor(8), 3, block=(32, 2))
    _, _, shape, _, values = gpu.log[-2]
    assert shape.block == (32, 2, 1) and (shape.shared, shape.cluster) == (0, 1)
    assert values == [("c_ulong", 8), ("c_int", 3)]


@pytest.mark.torch
def test_tensors_of_torch() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="'a' is a tensor on the CPU"):
        launcher()(1, **{**good(), "a": torch.empty(8, dtype=torch.float16)})
    assert _launch._extent(torch.empty(8, dtype=torch.float16)[2:]) == 16
    names = {str(getattr(torch, name)).rpartition(".")[2] for name in _launch._DTYPES}
    assert names == set(_launch._DTYPES)


@pytest.mark.parametrize(
    ("device", "index"),
    [
        (None, None),
        (1, 1),
        ("cuda", None),
        ("cuda:2", 2),
        (SimpleNamespace(type="cuda", index=3), 3),
    ],
)
def test_devices(device: object, index: int | None) -> None:
    assert _launch._index(device) == index


@pytest.mark.compiler
def test_a_library_is_loaded_by_ctypes(ship: Any, tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    source.write_text("int answer(void) { return 42; }\n")
    compiler = shutil.which("gcc") or shutil.which("clang") or "cc"
    command = [compiler, "-shared", "-fPIC", str(source), "-o", str(tmp_path / "a.so")]
    subprocess.run(command, check=True)
    content = (tmp_path / "a.so").read_bytes()
    aot = ship(
        ("k", "cpu", {}, {"a.so": content}),
        ("k", "cuda:sm_90a", {}, {"a.so": content}),
        ("many", "cpu", {}, {"a.so": content, "b.so": content}),
    )
    for target in ("cpu", "cuda:sm_90a"):
        library = aot.get("k", target).load()
        assert isinstance(library, ctypes.CDLL) and library.answer() == 42
    with pytest.raises(ValueError, match="has 2 files"):
        aot.get("many", "cpu").load()


@pytest.mark.parametrize(
    ("target", "file", "module", "extra"),
    [
        ("cuda:sm_90a", "k.cubin", "cuda.core", "cuda"),
        ("hip:gfx942", "k.hsaco", "hip", "hip"),
    ],
)
def test_a_missing_driver_names_the_command(
    ship: Any, monkeypatch: pytest.MonkeyPatch, target: str, file: str, module: str, extra: str
) -> None:
    aot = ship(("k", target, {}, {file: b"\x7fELF"}, METADATA))
    monkeypatch.setitem(sys.modules, module, None)
    message = rf"launching this needs {module}: pip install 'aot-build\[{extra}\]'"
    with pytest.raises(ImportError, match=message) as caught:
        aot.get("k", target).load(0)
    assert caught.value.name == module


class Plain(_gpu.Gpu):
    """What both vendors' have in common, and nothing else."""

    def make_current(self) -> None:
        raise AssertionError("no test comes here")

    def memory(self, size: int, stream: int) -> contextlib.AbstractContextManager[int]:
        raise AssertionError("no test comes here")


def test_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    gpu = Plain(None)
    assert (gpu.index, gpu.torch) == (0, None)
    found = [
        None,
        0,
        5,
        SimpleNamespace(cuda_stream=7),
        SimpleNamespace(__cuda_stream__=lambda: (0, 9)),
    ]
    assert [gpu.stream(stream) for stream in found] == [0, 0, 5, 7, 9]
