"""What runs lowered kernels on the CPU: right for kernels whose results are known, and strict."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("flydsl")

pytestmark = [pytest.mark.torch, pytest.mark.flydsl]
LOOP = {
    "arch": "gfx950", "dtype": "bf16", "out": "bf16", "N": 64, "K": 256, "BM": 16, "BN": 64,
    "BK": 64, "STAGES": 3, "ASYNC": True, "WN": 4,
}  # fmt: skip
REGISTERS = {**LOOP, "STAGES": 2, "ASYNC": False}


@pytest.mark.parametrize("size", [1, 128, 300])
def test_branches_that_threads_take_apart(product, size):
    assert product(name="sum", size=size)["worst"] < 1e-6


def test_a_product_by_flydsls_own_layouts(product):
    assert product(name="matmul", size=32)["worst"] < 1e-5


def fault(product, tile, pattern, replacement):
    with pytest.raises(AssertionError) as caught:
        product(tile=tile, M=16, edit=[pattern, replacement])
    return str(caught.value)


def test_a_missing_barrier_is_seen(product):
    assert "without a barrier" in fault(product, REGISTERS, r"\n *gpu\.barrier[^\n]*", "")


def test_a_missing_wait_is_seen(product):
    text = fault(product, LOOP, r"\n *rocdl\.s\.waitcnt[^\n]*", "")
    assert "may not have landed" in text


def test_a_wait_for_one_copy_too_few_is_seen(product):
    # A step copies one chunk of A and two of B a thread; 3955 is a wait for all but three copies.
    assert product(tile=LOOP, M=16)["worst"] <= 1
    text = fault(product, LOOP, r"rocdl\.s\.waitcnt 3955", "rocdl.s.waitcnt 3956")
    assert "may not have landed" in text
