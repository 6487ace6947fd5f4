"""The Triton kernels against float64, in Triton's interpreter, with every row's tile."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")


from tests.kernels.interpreting import interpreting
from tests.kernels.rows import label, tiles

SCRIPT = Path(__file__).with_name("interpreted.py")
DTYPES = ("bf16", "fp16", "fp32")
TILE = {"BM": 16, "BN": 32, "BK": 32, "GROUP": 2, "DIES": 1}
NORM = {"ROWS": 4, "BLOCK": 128, "ONCE": False}
LAYOUTS = (
    "rows", "columns", "shifted", "sliced", "every other", "expanded", "among nan",
    "columns among nan",
)  # fmt: skip
pytestmark = [pytest.mark.torch, pytest.mark.triton]


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    """Runs a case in a process that interprets kernels."""
    with interpreting(SCRIPT) as run:
        yield run


@pytest.fixture
def check(interpreter: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[..., None]:
    """Asserts that a case is as exact as it has to be, and its result of the right form."""

    def checked(kernel: str, shape: tuple[int, ...], dtype: str, **case: Any) -> None:
        found = interpreter({"kernel": kernel, "shape": shape, "dtype": dtype, **case})
        assert "error" not in found, found["error"]
        assert found["worst"] <= 1, found
        expected = shape[:2]
        assert (tuple(found["shape"]), found["contiguous"]) == (expected, True)
        assert found["dtype"] == {"bf16": "torch.bfloat16", "fp16": "torch.float16"}.get(
            dtype, "torch.float32"
        )

    return checked


def turned(trans_b: bool) -> str:
    """The layout of B that a tile takes as it lies."""
    return "columns" if trans_b else "rows"


@pytest.mark.parametrize("row", tiles("gpu_gemm"), ids=label)
@pytest.mark.parametrize("splits", [1, 2])
def test_every_tile_of_gemm(check, row, splits):
    shape = (row["BM"] + 3, row["BN"] + 5, row["BK"] + 16)
    check("gemm", shape, row["dtype"], row=row, splits=splits, b=turned(row["TRANS_B"]), bias=True)


@pytest.mark.parametrize("row", tiles("gpu_gemm_sum"), ids=label)
@pytest.mark.parametrize("splits", [2, 3, 16])
def test_every_sum_of_gemm(check, row, splits):
    tile = {**TILE, "dtype": row["dtype"], "TRANS_B": True}
    shape = (17, 70, 600)
    check("gemm", shape, row["dtype"], row=tile, splits=splits, b="columns", bias=True, sum=row)


SHAPES = [
    (1, 1, 1), (1, 1, 97), (1, 130, 1), (16, 32, 32), (32, 64, 64), (17, 33, 129), (15, 31, 17),
    (5, 16, 200), (49, 3, 64), (32, 96, 32),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("trans_b", [True, False])
@pytest.mark.parametrize("splits", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_and_splits_of_gemm(check, shape, splits, trans_b, dtype):
    row = {**TILE, "dtype": dtype, "TRANS_B": trans_b}
    bias = sum(shape) % 2 == splits % 2
    check("gemm", shape, dtype, row=row, splits=splits, b=turned(trans_b), bias=bias)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [False, True])
def test_a_sum_of_its_own_for_each_dtype(check, dtype, bias):
    row, sums = {**TILE, "dtype": dtype, "TRANS_B": True}, {"dtype": dtype, "BLOCK": 256}
    check("gemm", (17, 70, 200), dtype, row=row, splits=4, sum=sums, bias=bias, repeat=True)


@pytest.mark.parametrize("group", [1, 3, 8])
@pytest.mark.parametrize("dies", [1, 3, 8])
def test_every_order_of_programs_reaches_every_tile(check, group, dies):
    row = {**TILE, "GROUP": group, "DIES": dies, "dtype": "fp16", "TRANS_B": True}
    for shape in ((16 * 4 - 3, 32 * 5 - 9, 16), (16 * 9, 32, 16), (16, 32 * 9, 16)):
        check("gemm", shape, "fp16", row=row, b="columns")


@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
def test_layouts_of_gemm(check, left, right):
    for shape in ((19, 45, 77), (16, 48, 64), (1, 48, 64), (20, 1, 64)):
        check("gemm", shape, "bf16", a=left, b=right, bias=True)


@pytest.mark.parametrize("row", tiles("gpu_rmsnorm"), ids=label)
@pytest.mark.parametrize("residual", [False, True])
def test_every_tile_of_rmsnorm(check, row, residual):
    lengths = [16, 128, 250, 256] if row["ONCE"] else [16, 1000, 2048, 2049, 4112]
    added = {"residual": "rows"} if residual else {}
    for length in lengths:
        check("rmsnorm", (row["ROWS"] * 2 + 1, length), row["dtype"], row=row, **added)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cols", [1, 15, 16, 17, 127, 128, 129, 384, 1000])
@pytest.mark.parametrize("count", [1, 4, 9])
def test_shapes_of_rmsnorm(check, count, cols, dtype):
    row = {**NORM, "dtype": dtype}
    check("rmsnorm", (count, cols), dtype, row=row)
    check("rmsnorm", (count, cols), dtype, row=row, residual="rows")


@pytest.mark.parametrize(
    "layout, residual", [*zip(LAYOUTS, LAYOUTS, strict=True), *itertools.pairwise(LAYOUTS)]
)
def test_layouts_of_rmsnorm(check, layout, residual):
    for shape in ((6, 50), (6, 64), (1, 64)):
        check("rmsnorm", shape, "fp16", x=layout)
        check("rmsnorm", shape, "fp16", x=layout, residual=residual, eps=0.5)
