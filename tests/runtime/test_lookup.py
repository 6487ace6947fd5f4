"""get, select, table, stats: what is found, and what a miss says."""

import pickle
import subprocess
import sys
import threading
import timeit
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

CPU_V3 = ("cpu", frozenset({"", "x86-64", "x86-64-v2", "x86-64-v3"}))
CPU_BASE = ("cpu", frozenset({""}))


def test_get_reads_the_one_file(aot: Any) -> None:
    found = aot.get("scale", target="cpu", BLOCK=128, T="float")
    assert Path(found.path).read_bytes() == found.bytes == b"128"
    assert found.files == {"scale.so": found.path}
    assert found.metadata == {"symbol": "scale"}
    assert (found.target, found.row) == ("cpu", {"BLOCK": 128, "T": "float"})
    assert repr(found) == "<scale BLOCK=128, T=float for cpu>"


def test_several_files_share_a_folder(aot: Any) -> None:
    found = aot.get("many", "cpu", SHAPE=[8, [1, 2]])
    folder = Path(found.path)
    assert {name: Path(path).read_bytes() for name, path in found.files.items()} == {
        "a.bin": b"a",
        "sub/b.bin": b"b",
    }
    assert (folder / "sub" / "b.bin").read_bytes() == b"b"
    assert found.row == {"SHAPE": (8, (1, 2))}
    with pytest.raises(ValueError, match=r"2 files: a\.bin, sub/b\.bin"):
        _ = found.bytes


def test_one_variant_is_one_artifact(aot: Any) -> None:
    row = {"T": "float", "BLOCK": 64}
    assert aot.get("scale", "cpu", **row) is aot.get("scale", "cpu", BLOCK=64.0, T="float")


def test_values_are_typed(ship: Any) -> None:
    aot = ship(
        ("k", "cpu", {"X": True}, {"k": b"true"}),
        ("k", "cpu", {"X": 1}, {"k": b"int"}),
        ("k", "cpu", {"X": 1.0}, {"k": b"float"}),
        ("k", "cpu", {"X": "1"}, {"k": b"str"}),
        ("k", "cpu", {"X": None}, {"k": b"none"}),
        ("k", "cpu", {"X": (True,)}, {"k": b"list"}),
        ("k", "cpu", {"Y": 0}, {"k": b"zero"}),
        ("k", "cpu", {}, {"k": b"empty"}),
    )
    for value, content in [(True, b"true"), (1, b"int"), (1.0, b"float"), ("1", b"str"),
                           (None, b"none"), ([True], b"list"), ((True,), b"list")]:  # fmt: skip
        assert aot.get("k", "cpu", X=value).bytes == content
    assert aot.get("k", "cpu", Y=0.0).bytes == b"zero"
    assert aot.get("k", "cpu").bytes == b"empty"
    for row in ({"Y": False}, {"X": [1]}, {"X": 0}, {"X": {1: 2}}, {"Y": 0, "X": 1}):
        with pytest.raises(aot.KernelNotFound):
            aot.get("k", "cpu", **row)


def test_a_miss_names_the_nearest(aot: Any) -> None:
    with pytest.raises(aot.KernelNotFound) as caught:
        aot.get("scale", target="cpu", T="float", BLOCK=96)
    assert isinstance(caught.value, LookupError)
    assert str(caught.value) == (
        "kernel 'scale' has no variant BLOCK=96, T=float for cpu\n"
        "  nearest:   BLOCK=128, T=float for cpu\n"
        "             BLOCK=64, T=float for cpu\n"
        "             BLOCK=128, T=float for cpu:x86-64-v3\n"
        "  ships for: cpu, cpu:x86-64-v3"
    )
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_target_that_does_not_ship(aot: Any) -> None:
    with pytest.raises(aot.KernelNotFound) as caught:
        aot.get("gemm", target="cuda:sm_90", BM=128)
    assert str(caught.value).startswith("kernel 'gemm' ships nothing for cuda:sm_90\n  nearest: ")
    assert str(caught.value).endswith("ships for: cuda:sm_80, cuda:sm_90a, hip:gfx942")


def test_an_unknown_kernel(aot: Any) -> None:
    with pytest.raises(aot.KernelNotFound) as caught:
        aot.get("gem", target="cpu")
    assert str(caught.value) == (
        "no kernel 'gem' is shipped; did you mean 'gemm'?\n  shipped: gemm, many, scale"
    )


def test_columns_may_have_any_name(ship: Any) -> None:
    aot = ship(("k", "cpu", {"name": 1, "self": 2, "kernel": 3}, {"k": b"x"}))
    assert aot.get("k", "cpu", name=1, self=2, kernel=3).bytes == b"x"
    assert aot.select("k", "cpu", name=1, self=2, kernel=3).bytes == b"x"


def test_stats_count_get_and_select(aot: Any) -> None:
    assert aot.stats() == {"lookups": 0, "misses": 0}
    aot.get("scale", "cpu", T="float", BLOCK=64)
    aot.select("gemm", "cuda:sm_80", BM=128)
    for miss in (lambda: aot.get("none", "cpu"), lambda: aot.select("gemm", "cpu", BM=128)):
        with pytest.raises(aot.KernelNotFound):
            miss()
    aot.table("scale", "cpu")
    assert aot.stats() == {"lookups": 4, "misses": 2}


@pytest.mark.parametrize(
    ("machine", "block", "content"),
    [(CPU_V3, 128, b"128v3"), (CPU_V3, 64, b"64"), (CPU_BASE, 128, b"128")],
)
def test_select_takes_the_best_for_this_processor(
    aot: Any, machine: tuple[Any, ...], block: int, content: bytes
) -> None:
    aot._devices._cpu = machine
    for device in (None, "cpu", "cpu:0", SimpleNamespace(type="cpu", index=None)):
        assert aot.select("scale", device, T="float", BLOCK=block).bytes == content


def test_select_by_target_needs_no_torch(aot: Any) -> None:
    assert aot.select("gemm", "cuda:sm_90", BM=128).bytes == b"90a"
    assert aot.select("gemm", "cuda:sm_89", BM=128).bytes == b"80"
    assert aot.select("gemm", "hip:gfx942:sramecc+:xnack-", BM=128).bytes == b"942"
    assert aot.select("scale", "cpu:x86-64-v4", T="float", BLOCK=128).bytes == b"128v3"
    with pytest.raises(aot.KernelNotFound):
        aot.select("gemm", "cuda:sm_100", BM=128)
    with pytest.raises(TypeError, match="not a torch device"):
        aot.select("gemm", 1.5, BM=128)


def fake_torch(*, hip: str | None, gpus: int = 1) -> Any:
    def capability(index: int) -> tuple[int, int]:
        return [(9, 0), (8, 6)][index]

    cuda = SimpleNamespace(
        is_available=lambda: gpus > 0,
        current_device=lambda: 0,
        get_device_capability=capability,
        get_device_properties=lambda index: SimpleNamespace(gcnArchName="gfx942:sramecc+:xnack-"),
    )
    return SimpleNamespace(cuda=cuda, version=SimpleNamespace(hip=hip))


def test_select_asks_torch_for_a_gpu(aot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Neither CUDA nor ROCm can be had on every machine that runs these tests.
    monkeypatch.setitem(sys.modules, "torch", fake_torch(hip=None))
    for device in (None, 0, "cuda", "cuda:0", SimpleNamespace(type="cuda", index=None)):
        assert aot.select("gemm", device, BM=128).bytes == b"90a"
    for device in (1, "cuda:1", SimpleNamespace(type="cuda", index=1)):
        assert aot.select("gemm", device, BM=128).bytes == b"80"
    monkeypatch.setitem(sys.modules, "torch", fake_torch(hip="6.4"))
    assert aot.select("gemm", SimpleNamespace(type="cuda", index=0), BM=128).bytes == b"942"
    assert aot.select("gemm", BM=128).bytes == b"942"
    with pytest.raises(aot.KernelNotFound, match="nothing for mps"):
        aot.select("gemm", "mps", BM=128)


def test_without_a_device_a_cpu_kernel_never_asks_for_gpus(
    aot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", fake_torch(hip=None))
    assert aot.select("scale", T="float", BLOCK=64).bytes == b"64"
    monkeypatch.setitem(sys.modules, "torch", fake_torch(hip=None, gpus=0))
    with pytest.raises(aot.KernelNotFound, match="nothing for this machine"):
        aot.select("gemm", BM=128)


def test_table_agrees_with_select(aot: Any) -> None:
    aot._devices._cpu = CPU_V3
    found = aot.table("scale", "cpu")
    assert found.columns == ("BLOCK", "T")
    assert set(found) == {(64, "float"), (128, "float")}
    for block in (64, 128):
        chosen = aot.select("scale", "cpu", T="float", BLOCK=block)
        assert found[block, "float"] is chosen
    assert found.get((1, "float")) is None
    with pytest.raises(aot.KernelNotFound, match=r"\(1, 'float'\), in the order"):
        found[1, "float"]
    with pytest.raises(KeyError):
        found["float", 64]


def test_table_of_uneven_rows(ship: Any) -> None:
    aot = ship(
        ("k", "cpu", {"X": 1}, {"k": b"x"}),
        ("k", "cpu", {"X": 1, "Y": None}, {"k": b"xy"}),
        ("k", "cpu", {"X": (1, 2)}, {"k": b"list"}),
    )
    found = aot.table("k", "cpu")
    assert found.columns == ("X", "Y")
    assert {key: a.bytes for key, a in found.items()} == {
        (1, aot.ABSENT): b"x",
        (1, None): b"xy",
        ((1, 2), aot.ABSENT): b"list",
    }


def test_table_refuses_what_it_cannot_tell_apart(ship: Any) -> None:
    aot = ship(("k", "cpu", {"X": 1}, {"k": b"i"}), ("k", "cpu", {"X": True}, {"k": b"b"}))
    with pytest.raises(ValueError, match=r"<k X=1 for cpu>.*<k X=true for cpu>"):
        aot.table("k", "cpu")
    with pytest.raises(aot.KernelNotFound):
        aot.table("k", "cuda:sm_90")


def test_table_costs_what_a_dict_costs(aot: Any) -> None:
    found = aot.table("scale", "cpu")
    plain = dict(found)
    call = "found[block, dtype]"

    def best(found: Any) -> float:
        names = {"found": found, "block": 128, "dtype": "float"}
        return min(timeit.repeat(call, globals=names, number=20_000, repeat=15))

    # A method of Python's own in the way would cost five times as much.
    assert best(found) < 2.5 * best(plain)


def test_threads_see_one_index(aot: Any) -> None:
    found: list[object] = []
    start = threading.Barrier(8)

    def look() -> None:
        start.wait()
        for _ in range(200):
            found.append(aot.get("scale", "cpu", T="float", BLOCK=128))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1600
    assert len(set(map(id, found))) == 1
    assert aot.stats() == {"lookups": 1600, "misses": 0}


def test_importing_reads_nothing_and_imports_little(aot: Any) -> None:
    root = Path(aot.__file__).parents[2]
    (Path(aot.__file__).parent / "manifest.json").unlink()
    code = (
        "import sys; before = set(sys.modules); from shipping import _aot;"
        "new = {n.partition('.')[0] for n in set(sys.modules) - before};"
        "assert not new & {'aot_build', 'torch', 'inspect', 'subprocess', 'hashlib'}, new;"
        "late = {'shipping._aot.' + n for n in ('_triton', '_specialization', '_launch', '_gpu')};"
        "assert not late & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-S", "-c", code], cwd=root, check=True)
