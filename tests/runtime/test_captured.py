"""Kernels whose launches were captured: asked for by a launch, or by the row that made it."""

from typing import Any

import pytest

NORM = {"function": "_rms_fwd", "X": "*bf16:16", "n": "i32:16", "BLOCK": 4096, "num_warps": 8}
SPLIT = {**NORM, "BLOCK": 1024, "num_warps": 4}
GRAD = {"function": "_rms_bwd", "dX": "*bf16:16", "n": "i32:16", "BLOCK": 4096, "num_warps": 8}


@pytest.fixture
def captured(ship: Any) -> Any:
    """One row made one launch, one made two, and two rows made the same one."""

    def launch(row: dict[str, Any], content: bytes, *rows: Any, target: str = "cuda:sm_90a") -> Any:
        return "norm", target, row, {"k.cubin": content}, {"rows": list(rows)}

    small, large, grad = {"H": 4096}, {"H": 8192}, {"H": 4096, "grad": True}
    return ship(
        launch(NORM, b"norm", small, grad),
        launch(SPLIT, b"split", large, {"H": 1.0}),
        launch({**SPLIT, "BLOCK": 2048}, b"split more", {"H": 1}),
        launch(GRAD, b"grad", grad),
        launch(NORM, b"norm 80", small, target="cuda:sm_80"),
        launch(SPLIT, b"split 80", small, target="cuda:sm_80"),
    )


def test_a_launch_is_found_by_its_columns(captured: Any) -> None:
    assert captured.get("norm", "cuda:sm_90a", **NORM).bytes == b"norm"
    assert captured.get("norm", "cuda:sm_90a", **GRAD).bytes == b"grad"


def test_a_launch_is_found_by_the_row_that_made_it(captured: Any) -> None:
    assert captured.get("norm", "cuda:sm_90a", H=4096).bytes == b"norm"
    assert captured.get("norm", "cuda:sm_90a", H=4096.0).bytes == b"norm"
    assert captured.get("norm", "cuda:sm_90a", H=8192).bytes == b"split"
    assert captured.select("norm", "cuda:sm_90", H=8192).bytes == b"split"
    assert captured.stats() == {"lookups": 4, "misses": 0}


def test_values_keep_their_types(captured: Any) -> None:
    assert captured.get("norm", "cuda:sm_90a", H=1).bytes == b"split more"
    assert captured.get("norm", "cuda:sm_90a", H=1.0).bytes == b"split"
    with pytest.raises(captured.KernelNotFound, match="no variant H=true"):
        captured.get("norm", "cuda:sm_90a", H=True)


def test_several_launches_are_told_apart(captured: Any) -> None:
    with pytest.raises(captured.KernelNotFound) as caught:
        captured.get("norm", "cuda:sm_90a", grad=True, H=4096)
    assert str(caught.value) == (
        "kernel 'norm': 2 launches were made by H=4096, grad=true for cuda:sm_90a\n"
        "  they differ in: X, dX, function\n"
        "  ask for one of them by all of its columns"
    )
    with pytest.raises(captured.KernelNotFound, match="they differ in: BLOCK, num_warps"):
        captured.select("norm", "cuda:sm_80", H=4096)
    assert captured.stats() == {"lookups": 2, "misses": 2}


def test_a_table_knows_launches_only(captured: Any) -> None:
    found = captured.table("norm", "cuda:sm_90")
    assert found.columns == ("BLOCK", "X", "dX", "function", "n", "num_warps")
    assert len(found) == 4


@pytest.mark.parametrize("rows", [None, "H", [1], [None], {"H": 1}])
def test_other_rows_in_metadata_are_somebody_elses(ship: Any, rows: object) -> None:
    aot = ship(("k", "cpu", {"X": 1}, {"k": b""}, {"rows": rows}))
    with pytest.raises(aot.KernelNotFound):
        aot.get("k", "cpu", H=1)
