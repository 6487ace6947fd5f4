"""Which variant of gemm_a8w8 and chunk_gdn_h a call gets, and how it is launched."""

import pytest

torch = pytest.importorskip("torch")

import aot_kernels  # noqa: E402, F401  (its folder is importable from here on)
from aot_kernels.chunks import chunk_offsets  # noqa: E402
from aot_kernels.gpu import chunk_gdn_h as gdn  # noqa: E402
from aot_kernels.gpu import gemm_a8w8 as a8w8  # noqa: E402
from aot_kernels.gpu import variants as variants_of  # noqa: E402
from aot_kernels.gpu.gemm import Plan  # noqa: E402
from aot_kernels.gpu.variants import Variant  # noqa: E402

from tests.kernels.gdn import problem  # noqa: E402
from tests.kernels.rows import rows  # noqa: E402
from tests.kernels.test_gpu_choice import Recorder, check_launch  # noqa: E402

pytestmark = pytest.mark.torch
WANTED = (("snapshot", "bf16"), ("state", "fp32"), ("K", 128), ("V", 128), ("BT", 64))
ALL, NONE = (True, True, True), (False, False, False)


@pytest.fixture
def found(monkeypatch):
    """Variants of a call on a GPU that everything is shipped for."""
    monkeypatch.setattr(variants_of, "all_shipped", lambda name, device: [
        Variant(row) for target, row in rows(name) if target == "hip:gfx942"
    ])  # fmt: skip
    monkeypatch.setattr(variants_of, "_aot", lambda: None)
    find = gdn.variants_for
    find.cache_clear()
    yield lambda heads, flags, wanted=WANTED: [
        v.row for v in find(torch.device("cpu"), "bf16", heads, wanted, flags)
    ]
    find.cache_clear()


def test_variants_for_the_very_heads_come_first(found):
    assert [(row["H"], row["BV"]) for row in found((6, 2), ALL)] == [(6, 16), (6, 64)]
    assert [(row["H"], row["BV"]) for row in found((6, 3), ALL)] == [(0, 64), (0, 16)]


def test_a_variant_that_does_more_serves(found):
    (exact,) = found((6, 2), NONE)
    assert not exact["use_h0"] and not exact["is_varlen"]
    assert all(row["use_h0"] and row["is_varlen"] for row in found((8, 2), NONE))
    assert all(row["store_fs"] for row in found((6, 2), (False, True, False)))


def test_what_nothing_is_shipped_for_gets_the_spare_one(found):
    pytest.importorskip("triton")
    (spare,) = found((8, 2), (True, False, False), (*WANTED[:2], ("K", 64), *WANTED[3:]))
    assert (spare["K"], spare["H"], spare["use_h0"], spare["store_fs"]) == (64, 0, True, False)


@pytest.mark.parametrize("columns, expected", [(64, 16), (5000, 16), (9728, 32), (10**6, 64)])
def test_the_widest_that_fills_the_processors(columns, expected):
    each = [Variant({"BV": width}) for width in (32, 64, 16)]
    assert gdn.choose(each, columns, 304).row["BV"] == expected


def test_chunks_before_each_sequence():
    assert chunk_offsets([0, 0, 1, 65, 129, 200], 64) == [0, 0, 1, 2, 3, 5]
    assert chunk_offsets([0], 64) == [0]


def test_what_a_gpu_cannot_compute():
    given = (torch.ones(1, 4, 1, 24), torch.ones(1, 4, 1, 24), torch.ones(1, 4, 1, 16))
    rest = (torch.ones(1, 4, 1), None, False, None, 64, torch.float32, torch.float32)
    with pytest.raises(ValueError, match=r"got K = 24, V = 16, chunk = 64"):
        gdn.chunk_gdn_h(*given, *rest)
    wide = torch.empty(1, dtype=torch.int8).expand(16, 2**23)
    with pytest.raises(ValueError, match="below 8388608; got K = 8388608, N = 16"):
        a8w8.gemm_a8w8(wide, wide, torch.ones(16), torch.ones(16), None, torch.float16)


@pytest.mark.parametrize("dtype", a8w8.BYTES, ids=a8w8.BYTES.get)
@pytest.mark.parametrize("splits", [1, 4])
def test_without_triton_8_bit_products_launch_themselves(monkeypatch, dtype, splits):
    monkeypatch.setattr(variants_of, "_function", lambda source: None)
    tile, sums = Recorder(), Recorder()
    row = {"dtype": a8w8.BYTES[dtype], "out": "fp16", "BM": 16, "BN": 64, "BK": 32}
    added = {"dtype": "fp16", "BLOCK": 256}
    plan = Plan(Variant(row, tile), splits, Variant(added, sums))
    a, b = torch.ones(33, 130).to(dtype)[:, 2:], torch.ones(80 * 128 + 1).to(dtype)[1:]
    scales, bias = (torch.ones(34)[1:], torch.ones(160)[::2]), torch.ones(81).half()[1:]
    a8w8.multiply(a, b.view(80, 128), *scales, bias, torch.float16, plan)
    a8w8.multiply(a, b.view(80, 128), *scales, None, torch.float16, plan)
    for launch in tile.launches:
        check_launch(launch, "gpu_gemm_a8w8", row)
    for launch in sums.launches:
        check_launch(launch, "gpu_gemm_sum", added)
    assert [grid for grid, _ in tile.launches] == [(6, splits)] * 2
    assert len(sums.launches) == (0 if splits == 1 else 2)


@pytest.mark.parametrize(
    "flags, ends", [(ALL, None), (ALL, [0, 30, 30, 70]), (NONE, None)], ids=str
)
def test_without_triton_states_launch_themselves(monkeypatch, flags, ends):
    monkeypatch.setattr(variants_of, "_function", lambda source: None)
    given = problem((1 if ends else 2, 70, 2, 4, 16, 48), torch.float16, None, ends, 32)
    row = {"dtype": "fp16", "snapshot": "fp16", "state": "fp32", "BT": 32, "BV": 16,
           **dict(zip(("use_h0", "store_fs", "is_varlen"), flags, strict=True))}  # fmt: skip
    recorder = Recorder()
    operands = (given[name] for name in ("k", "w", "u", "g"))
    h, v_new, last = gdn.recur(*operands, None, False, ends, Variant(row, recorder),
                               (torch.float16, torch.float32))  # fmt: skip
    ((grid, arguments),) = recorder.launches
    check_launch((grid, arguments), "gpu_chunk_gdn_h", row)
    assert grid == (3, 4 * (3 if ends else 2)) and last is None
    assert h.shape == (1 if ends else 2, 3, 4, 16, 48) and v_new.shape == (*given["u"].shape,)
    assert arguments["cu_seqlens"].tolist() == (ends or [0, 70, 140])
    assert arguments["chunk_offsets"].tolist() == ([0, 1, 1, 3] if ends else [0, 3, 6])
    if flags[0]:
        assert not arguments["h0"].any() and arguments["h0"].dim() == 4
