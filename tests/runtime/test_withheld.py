"""What is shipped and yet not given: code that a device does not run, and what it cannot launch."""

from typing import Any

import pytest

TOO_MUCH = "out of resource: shared memory, 300000 needed, 232448 there"


@pytest.fixture
def emitted(ship: Any) -> Any:
    """Compilers that emit arch-specific code for what they are asked for."""
    return ship(
        ("k", "cuda:sm_100", {"X": 1}, {"k.cubin": b"100a"}, {"arch": "sm_100a"}),
        ("k", "cuda:sm_80", {"X": 1}, {"k.cubin": b"80"}, {"arch": "sm_80"}),
        ("k", "cuda:sm_90", {"X": 1}, {"k.cubin": b"90a"}, {"arch": "sm_90a"}),
        ("k", "cuda:sm_103", {"X": 2}, {"k.cubin": b"103"}, {"arch": "sm_103"}),
        ("k", "cuda:sm_103", {"X": 3}, {"k.cubin": b"own"}, {"arch": "blackwell ultra"}),
        ("k", "hip:gfx942", {"X": 1}, {"k.hsaco": b"942"}, {"arch": "gfx942"}),
        ("k", "cpu", {"X": 1}, {"k.so": b"cpu"}, {"arch": "sm_90a"}),
    )


@pytest.mark.parametrize(
    ("device", "found"),
    [
        ("cuda:sm_100", {1: b"100a"}),
        ("cuda:sm_103", {2: b"103", 3: b"own"}),
        ("cuda:sm_90", {1: b"90a"}),
        ("cuda:sm_89", {1: b"80"}),
        ("hip:gfx942", {1: b"942"}),
        ("cpu", {1: b"cpu"}),
    ],
)
def test_emitted_code_must_run(emitted: Any, device: str, found: dict[int, bytes]) -> None:
    table = emitted.table("k", device)
    assert {row: artifact.bytes for row, artifact in table.items()} == {
        (x,): content for x, content in found.items()
    }
    for x in (1, 2, 3):
        if x in found:
            assert emitted.select("k", device, X=x) is table[x,]
        else:
            with pytest.raises(emitted.KernelNotFound):
                emitted.select("k", device, X=x)


def test_a_miss_names_the_code_that_does_not_run(emitted: Any) -> None:
    with pytest.raises(emitted.KernelNotFound) as caught:
        emitted.select("k", "cuda:sm_103", X=1)
    assert str(caught.value).startswith(
        "kernel 'k' has no variant X=1 for cuda:sm_103, cuda:sm_100\n"
        "  withheld:  for cuda:sm_100 it is sm_100a code, which does not run here\n"
        "  nearest:   X="
    )


def test_get_asks_no_device(emitted: Any) -> None:
    assert emitted.get("k", "cuda:sm_100", X=1).bytes == b"100a"


@pytest.fixture
def tuned(ship: Any) -> Any:
    return ship(
        ("k", "cuda:sm_90a", {"BM": 256}, {}, {"unlaunchable": TOO_MUCH, "rows": [{"M": 1}]}),
        ("k", "cuda:sm_90a", {"BM": 128}, {"k.cubin": b"128"}, {"rows": [{"M": 1}]}),
        ("k", "cuda:sm_90", {"BM": 256}, {"k.cubin": b"plain"}),
    )


def test_what_cannot_be_launched_is_invisible(tuned: Any) -> None:
    assert set(tuned.table("k", "cuda:sm_90")) == {(128,), (256,)}
    assert tuned.table("k", "cuda:sm_90")[256,].bytes == b"plain"
    assert tuned.select("k", "cuda:sm_90", BM=256).bytes == b"plain"
    assert tuned.get("k", "cuda:sm_90a", M=1).bytes == b"128"
    assert tuned.verify() == []


@pytest.mark.parametrize("value", [256, 256.0])
def test_a_miss_says_why_it_cannot_be_launched(tuned: Any, value: object) -> None:
    with pytest.raises(tuned.KernelNotFound) as caught:
        tuned.get("k", "cuda:sm_90a", BM=value)
    assert str(caught.value) == (
        f"kernel 'k' has no variant BM={value} for cuda:sm_90a\n"
        f"  withheld:  cuda:sm_90a cannot launch it: {TOO_MUCH}\n"
        "  nearest:   BM=128 for cuda:sm_90a\n"
        "             BM=256 for cuda:sm_90\n"
        "  ships for: cuda:sm_90, cuda:sm_90a"
    )
