"""The Triton kernels of experts against float64, in Triton's interpreter, with every row's tile."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")


from tests.kernels.interpreting import interpreting
from tests.kernels.rows import label, tiles

SCRIPT = Path(__file__).with_name("interpreted.py")
LAYOUTS = ("shifted", "turned", "sliced")
pytestmark = [pytest.mark.torch, pytest.mark.triton]


@pytest.fixture(scope="module")
def check() -> Iterator[Callable[..., None]]:
    """Asserts that a case, run in a process that interprets, is as exact as it has to be."""
    with interpreting(SCRIPT) as answered:

        def run(kernel: str, *shape: int, dtype: str = "bf16", **case: Any) -> None:
            found = answered({"kernel": kernel, "shape": shape, "dtype": dtype, **case})
            assert "error" not in found, found["error"]
            assert found["worst"] <= 1, found

        yield run


PAIRS = [
    (up, down)
    for up in tiles("gpu_moe_up")
    for down in tiles("gpu_moe_down")
    if up["BM"] == down["BM"]
]


@pytest.mark.parametrize("up, down", PAIRS, ids=label)
def test_every_tile_of_moe(check, up, down):
    rows = {"gpu_moe_up": up, "gpu_moe_down": down, "gpu_moe_sum": tiles("gpu_moe_sum")[0]}
    shape = (2 * up["BM"] + 3, 2, 3, up["BK"] + 19, up["BN"] + 3)
    check("moe", *shape, rows=rows, activation="swiglu")


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (1, 4, 6, 50, 16), (70, 2, 2, 16, 33)], ids=str)
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("activation", ["silu", "swiglu"])
def test_shapes_of_moe(check, shape, dtype, activation):
    check("moe", *shape, dtype=dtype, activation=activation)
    check("moe", *shape, dtype=dtype, activation=activation, elsewhere=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_moe(check, layout):
    for dim, inter in ((50, 20), (48, 32)):
        check("moe", 9, 2, 3, dim, inter, dtype="fp16", layout=layout)


@pytest.mark.parametrize("row", tiles("gpu_grouped_moe"), ids=label)
def test_every_tile_of_grouped_products(check, row):
    room = row["BM"] + 5
    how = {"activation": "silu"} if row["GATED"] else {}
    counts, shape = [row["BM"] + 1, 0, 3], (3, room, row["BN"] + 7, row["BK"] + 9)
    check("grouped", *shape, rows={"gpu_grouped_moe": row}, counts=counts, **how)


@pytest.mark.parametrize("activation", [None, "silu", "swiglu"])
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
def test_grouped_products(check, dtype, activation):
    check("grouped", 1, 1, 1, 1, dtype=dtype, counts=[1], activation=activation)
    check("grouped", 4, 40, 70, 50, dtype=dtype, counts=[0, 40, 33, 1], activation=activation)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_grouped_products(check, layout):
    for depth in (50, 64):
        check("grouped", 2, 20, 30, depth, dtype="fp16", counts=[20, 3], layout=layout)


@pytest.mark.parametrize("form", ["e2m1", "e4m3"])
@pytest.mark.parametrize("activation", [None, "swiglu"])
def test_block_scaled_products(check, form, activation):
    for depth in (32, 128, 288):
        case = {"form": form, "activation": activation}
        check("grouped", 3, 40, 70, depth, counts=[33, 0, 40], **case)
        check("grouped", 3, 40, 70, depth, counts=[33, 0, 40], layout="shifted", **case)


@pytest.mark.parametrize("bits, gated", [(4, True), (8, False)])
def test_a_tile_out_of_a_tuned_table(check, bits, gated):
    tile = {"dtype": "bf16", "BITS": bits, "GATED": gated, "GATHER": False}
    tile |= {"BM": 16, "BN": 128, "BK": 256}
    how = {"form": {4: "e2m1", 8: "e4m3"}[bits], "activation": "silu" if gated else None}
    check("grouped", 2, 20, 135, 320, counts=[17, 2], rows={"gpu_grouped_moe_tuned": tile}, **how)
