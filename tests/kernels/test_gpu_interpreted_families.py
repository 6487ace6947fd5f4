"""gemm_a8w8 and chunk_gdn_h in Triton against float64, in its interpreter, by every row."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")


from tests.kernels.interpreting import interpreting
from tests.kernels.rows import label, tiles

SCRIPT = Path(__file__).with_name("interpreted_families.py")
Check = Callable[..., dict[str, Any]]
pytestmark = [pytest.mark.torch, pytest.mark.triton]


@pytest.fixture(scope="module")
def check() -> Iterator[Check]:
    """Asserts that a case, run in a process of its own, is as exact as it has to be."""
    with interpreting(SCRIPT) as answered:

        def run(kernel: str, shape: tuple[int, ...], dtype: str, **case: Any) -> dict[str, Any]:
            found = answered({"kernel": kernel, "shape": shape, "dtype": dtype, **case})
            assert "error" not in found, found["error"]
            assert found["worst"] <= 1 and found["contiguous"], found
            return found

        yield run


BYTES = ("i8", "fp8e4nv", "fp8e4b8")
TILE = {"BM": 16, "BN": 32, "BK": 32, "GROUP": 2, "DIES": 3}


@pytest.mark.parametrize("row", tiles("gpu_gemm_a8w8"), ids=label)
def test_every_tile_of_gemm_a8w8(check, row):
    splits = 2 if row["out"] == "bf16" else 1
    shape = (row["BM"] + 3, row["BN"] + 16, row["BK"] + 32)
    found = check(
        "gemm_a8w8", shape, row["dtype"], out=row["out"], row=row, splits=splits, bias=True
    )
    assert tuple(found["shape"]) == shape[:2]


@pytest.mark.parametrize("dtype", BYTES)
@pytest.mark.parametrize("splits", [1, 3])
@pytest.mark.parametrize("shape", [(1, 16, 32), (17, 48, 160), (32, 80, 96)], ids=str)
def test_shapes_and_splits_of_gemm_a8w8(check, shape, splits, dtype):
    out = "fp16" if sum(shape) % 2 else "bf16"
    sums = {"dtype": out, "BLOCK": 256}
    for row, last in ((TILE, None), ({**TILE, "BK": 64}, sums)):
        check("gemm_a8w8", shape, dtype, out=out, row=row, splits=splits, sum=last,
              bias=shape[0] % 2 == 0)  # fmt: skip


@pytest.mark.parametrize("dtype", BYTES)
def test_layouts_of_gemm_a8w8(check, dtype):
    for shape in ((19, 48, 96), (1, 32, 64)):
        check("gemm_a8w8", shape, dtype, out="bf16", a="every other", bias=True)
        check("gemm_a8w8", shape, dtype, out="fp16", shifted=True)


STATES = {"snapshot": "fp32", "state": "fp32", "V": 32, "BV": 16, "BT": 16, "H": 0, "Hg": 0,
          "use_h0": True, "store_fs": True, "is_varlen": False}  # fmt: skip


@pytest.mark.parametrize("kernel", ["gpu_chunk_gdn_h", "gpu_chunk_gdn_h_tuned"])
def test_every_tile_of_chunk_gdn_h(check, kernel):
    for row in tiles(kernel):
        heads, key_heads = (row["H"], row["Hg"]) if row["H"] else (2, 1)
        shape = (1, row["BT"] + 6, key_heads, heads, row["K"], row["V"])
        ends = [0, 5, shape[1]] if row["is_varlen"] else None
        # A call that asks for less than the row gives is served too: here of the widest.
        less = row["BV"] == 64
        check("chunk_gdn_h", shape, row["dtype"], row=row, ends=ends,
              initial=row["use_h0"] and not less, final=row["store_fs"] and not less)  # fmt: skip


@pytest.mark.parametrize("dtype, keys", [("fp32", 64), ("fp16", 16), ("bf16", 16)])
@pytest.mark.parametrize("heads", [(1, 1), (4, 2)], ids=str)
@pytest.mark.parametrize("tokens", [1, 16, 37])
def test_shapes_of_chunk_gdn_h(check, dtype, keys, heads, tokens):
    h, hg = heads
    shape = (2, tokens, hg, h, keys, 32)
    row = {**STATES, "K": keys, "H": h, "Hg": hg, "snapshot": dtype, "state": dtype}
    found = check("chunk_gdn_h", shape, dtype, row=row, initial=True)
    assert found["states"] == [2, -(-tokens // 16), h, keys, 32]
    row = {**STATES, "K": keys, "use_h0": False, "store_fs": False, "is_varlen": True}
    check("chunk_gdn_h", shape, dtype, row=row, final=False)


@pytest.mark.parametrize("ends", [[0, 1], [0, 16, 32], [0, 3, 3, 20, 50], [0, 0, 33]], ids=str)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_sequences_of_chunk_gdn_h(check, dtype, ends):
    shape = (1, ends[-1], 1, 2, 32, 32)
    row = {**STATES, "K": 32, "is_varlen": True}
    for initial in (False, True):
        check("chunk_gdn_h", shape, dtype, row=row, ends=ends, initial=initial)


def test_a_spare_variant_of_chunk_gdn_h(check):
    row = {"snapshot": "bf16", "state": "bf16", "BT": 32}
    check("chunk_gdn_h", (2, 70, 1, 2, 16, 48), "bf16", row=row, initial=True)
    check("chunk_gdn_h", (1, 70, 1, 2, 16, 16), "bf16", row=row, ends=[0, 30, 70], final=False)
