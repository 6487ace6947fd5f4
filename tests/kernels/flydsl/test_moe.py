"""Both stages of a mixture of experts in FlyDSL, as lowered for a GPU and run on the CPU."""

import os
import re
from pathlib import Path

import pytest

pytestmark = [pytest.mark.flydsl, pytest.mark.torch]
torch = pytest.importorskip("torch")
pytest.importorskip("flydsl")

import numpy as np  # noqa: E402
from aot_kernels import mx  # noqa: E402
from aot_kernels.flydsl import moe  # noqa: E402
from aot_kernels.flydsl.moe_plan import LDS  # noqa: E402
from aot_kernels.reference import moe as reference  # noqa: E402
from aot_kernels.routing import sort_by_expert  # noqa: E402
from aot_kernels.shuffled import interleaved, shuffled  # noqa: E402
from aot_kernels.tuned import moe as tuned  # noqa: E402
from aot_kernels.tuned import table  # noqa: E402

from aot_build.toolchains.rocm import find_rocm, lay_out  # noqa: E402
from tests.kernels.flydsl import interpret, scaled  # noqa: E402

FORMS = {"fp8": "e4m3", "fp4": "e2m1"}
BF16 = 2.0**-8
"""Half a unit in the last place of bf16, relative."""
ROOT = Path(__file__).parents[3]
NO_SCALES = np.zeros(16, np.uint8)


@pytest.fixture(autouse=True)
def rocm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FlyDSL links what it compiled."""
    monkeypatch.setenv("ROCM_PATH", lay_out(find_rocm(os.environ), tmp_path / "rocm"))


def run(launch, plan, tensors, tokens, slots, topk, block, folder, **numbers):
    """Launch as a build does; then run what came of it, with tensors in the place of addresses."""
    with interpret.lowering(plan.arch, folder):
        launch(plan, (0,) * len(tensors), tokens, slots, topk, block)
    together, blocks = numbers.get("together", 0), numbers.get("blocks", 3)
    given = [tokens, slots, topk, block, together, blocks]
    if launch is moe.launch_down:
        given.append(-(-tokens * plan.n // 8 // 256))
    arrays = [each if isinstance(each, np.ndarray) else bits(each) for each in tensors]
    return scaled.run(interpret.newest(folder), plan.arch, [*arrays, *given, None])


def bits(tensor):
    """The memory of a tensor."""
    return tensor.view(torch.uint8).numpy()


def operand(shape, kind):
    """Random values as a kernel gets them, their scales, and what they stand for."""
    values = torch.randn(shape) * torch.exp2(torch.randint(-3, 4, (*shape[:-1], 1)).float())
    if kind == "bf16":
        return values.bfloat16(), NO_SCALES, values.bfloat16().double()
    codes, scales = mx.encoded(values, FORMS[kind])
    return codes, bits(scales), mx.decoded(codes, scales, FORMS[kind])


def choices(tokens, topk, experts):
    """Each token's experts; the one before the last gets nothing."""
    free = [e for e in range(experts) if e != experts - 2]
    return torch.stack(
        [torch.tensor(free)[torch.randperm(len(free))[:topk]] for _ in range(tokens)]
    )


def case(arch, kinds, tile, **more):
    """An architecture and a row: types of rows, weights and result, and a tile."""
    row = dict(zip(("a", "w", "out"), kinds.split(), strict=True))
    row |= dict(zip(("tile_m", "tile_n", "tile_k"), tile, strict=True))
    return f"hip:{arch}", row | more


ROWS = {
    "bf16, gfx942": case("gfx942", "bf16 bf16 bf16", (16, 64, 64)),
    "bf16, gfx950": case("gfx950", "bf16 bf16 bf16", (16, 64, 32)),
    "tall": case("gfx942", "bf16 bf16 bf16", (64, 32, 32)),
    "waves share the sum": case("gfx950", "bf16 bf16 bf16", (16, 32, 64), k_waves=2),
    "fp8 x fp4 to fp8": case("gfx950", "fp8 fp4 fp8", (16, 64, 128), interleaved=True),
    "fp8 x fp4, long tile": case("gfx950", "fp8 fp4 bf16", (16, 64, 256)),
    "fp4 x fp4 to fp4": case("gfx950", "fp4 fp4 fp4", (16, 64, 128)),
    "all at once": case("gfx950", "fp8 fp4 fp4", (16, 64, 128), interleaved=True, k_waves=2),
}
TOKENS, TOPK, EXPERTS, MODEL, INTER = 21, 3, 5, 256, 64


GATED = [(name, "silu") for name in ROWS] + [("bf16, gfx942", "swiglu"), ("all at once", "swiglu")]


@pytest.mark.parametrize("name, activation", GATED)
def test_up(name, activation, tmp_path):
    torch.manual_seed(len(name))
    target, row = ROWS[name]
    plan = moe.up_plan(target, MODEL, INTER, activation=activation, **row)
    x, x_scale, x_exact = operand((TOKENS, MODEL), row["a"])
    w, w_scale, w_exact = operand((EXPERTS, 2 * INTER, MODEL), row["w"])
    w_exact = w_exact / 16  # so that the limits of activations are met, and not by all
    w_scale = w_scale - 4 if row["w"] == "fp4" else w_scale
    w = w / 16 if row["w"] == "bf16" else w
    if row.get("interleaved"):
        w = interleaved(w)
        w_scale = bits(interleaved(torch.tensor(w_scale).view(EXPERTS, 2 * INTER, -1)))
    ids = choices(TOKENS, TOPK, EXPERTS)
    slots, block = TOKENS * TOPK, max(32, plan.tile_m)
    order = sort_by_expert(ids, EXPERTS, block)
    y = torch.full((slots, INTER * moe.BITS[plan.out] // 8), 255, dtype=torch.uint8)
    y_scale = torch.full((slots, INTER // 32), 255, dtype=torch.uint8)
    tensors = [x, x_scale, shuffled(w), w_scale, *order, y, y_scale]
    folder = tmp_path / "ir"
    run(moe.launch_up, plan, tensors, TOKENS, slots, TOPK, block, folder, together=len(name) % 3)
    expected = reference.moe_up(x_exact, w_exact, ids, activation)
    # Sums are in fp32, of K products in any order: their errors are relative to sums of sizes,
    # and neither factor of the result grows faster than 1.1 times its sum.
    gate, up = sums(x_exact.abs(), w_exact.abs(), ids)
    size = 2.2 * MODEL * 2.0**-24 * gate * (up + 1)
    if plan.out == "bf16":
        found, step = y.view(torch.bfloat16).double(), expected.abs() * BF16
    else:
        form = FORMS[plan.out]
        codes = y.view(torch.float8_e4m3fn) if plan.out == "fp8" else y
        found = mx.decoded(codes, y_scale, form)
        step = half_step(expected, form)
    assert ((found - expected).abs() <= step + size).all()


def sums(x, w, ids):
    """What is put into an activation: gate and up of each choice."""
    both = torch.stack([w[e] @ x[n // TOPK] for n, e in enumerate(ids.flatten())])
    return both[:, :INTER], both[:, INTER:]


def half_step(exact, form):
    """Half the distance of neighbours at a number's place, of codes that the largest fits into."""
    blocks = exact.abs().unflatten(-1, (-1, 32))
    largest = {"e4m3": 448.0, "e2m1": 6.0}[form]
    scale = torch.exp2(torch.ceil(torch.log2(blocks.amax(-1, keepdim=True) / largest)))
    mantissa, least = {"e4m3": (3, -6), "e2m1": (1, 0)}[form]
    place = torch.floor(torch.log2(blocks / scale).clamp(min=least))
    return (torch.exp2(place - mantissa - 1) * scale).flatten(-2)


DOWN = {
    "bf16, gfx942": case("gfx942", "bf16 bf16 bf16", (16, 64, 64)),
    "bf16, gfx950": case("gfx950", "bf16 bf16 bf16", (32, 32, 128)),
    "fp8 x fp4": case("gfx950", "fp8 fp4 bf16", (16, 128, 128)),
    "fp4 x fp4": case("gfx950", "fp4 fp4 bf16", (32, 64, 256)),
}


@pytest.mark.parametrize("name", DOWN)
def test_down(name, tmp_path):
    torch.manual_seed(len(name))
    target, row = DOWN[name]
    plan = moe.down_plan(target, 128, 256, **row)
    slots = TOKENS * TOPK
    x, x_scale, x_exact = operand((slots, 256), row["a"])
    w, w_scale, w_exact = operand((EXPERTS, 128, 256), row["w"])
    factors, ids = torch.rand(TOKENS, TOPK), choices(TOKENS, TOPK, EXPERTS)
    ids[3, 1] = -1  # of no expert: nothing is added
    order = sort_by_expert(ids, EXPERTS, 32)
    parts = torch.zeros(slots, 128, dtype=torch.bfloat16)
    total = torch.full((TOKENS, 128), float("nan"), dtype=torch.bfloat16)
    tensors = [x, x_scale, shuffled(w), w_scale, *order, factors, parts, total]
    run(moe.launch_down, plan, tensors, TOKENS, slots, TOPK, 32, tmp_path / "ir", together=2)
    expected = reference.moe_down(x_exact, w_exact, factors, ids)
    # Each part is rounded, then their sum is; those of fp32 are far smaller.
    sizes = reference.moe_down(x_exact.abs(), w_exact.abs(), factors, ids)
    parts_of = torch.stack([
        reference.moe_down(x_exact, w_exact, factors * (torch.arange(TOPK) == k), ids).abs()
        for k in range(TOPK)
    ]).sum(0)  # fmt: skip
    assert ((total.double() - expected).abs() <= 2 * BF16 * parts_of + 2.0**-15 * sizes).all()
    assert (parts.view(TOKENS, TOPK, 128)[3, 1] == 0).all()


REFUSED = [
    ("gfx942", {"a": "fp8", "w": "fp4"}, "no operands fp8 and fp4 on gfx942"),
    ("gfx950", {"a": "bf16", "w": "fp4"}, "no operands bf16 and fp4 on gfx950"),
    ("gfx1250", {}, "no operands bf16 and bf16 on gfx1250"),
    ("gfx942", {"out": "fp8"}, "no result in fp8"),
    ("gfx942", {"tile_m": 24}, "tile_m 24 is no multiple of 16"),
    ("gfx942", {"tile_n": 96}, "64 columns are no multiple of 96"),
    ("gfx942", {"tile_n": 8}, "8 columns for 1 waves"),
    ("gfx942", {"tile_k": 96}, "tile_k 96 is none of"),
    ("gfx942", {"k_waves": 3}, "256 is no multiple of 3 x 64"),
    ("gfx942", {"tile_m": 512}, "131072 bytes of LDS"),
]


@pytest.mark.parametrize("arch, change, reason", REFUSED)
def test_what_the_kernel_cannot_do_is_refused(arch, change, reason):
    row = {
        "a": "bf16",
        "w": "bf16",
        "out": "bf16",
        "activation": "silu",
        "tile_m": 16,
        "tile_n": 64,
        "tile_k": 64,
    }
    with pytest.raises(ValueError, match=reason):
        moe.up_plan(f"hip:{arch}", MODEL, INTER, **row | change)


def test_a_result_of_4_gib_is_refused():
    target, row = DOWN["fp8 x fp4"]
    plan = moe.down_plan(target, 7168, 256, **row)
    with pytest.raises(ValueError, match="300000 rows x 7168 columns is larger than 4 GiB"):
        moe.launch_down(plan, (0,) * 10, 37500, 300000, 8, 32)


def shipped():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(table.VARIABLE, raising=False)
        return [("up", row) for row in tuned.up(())] + [("down", row) for row in tuned.down(())]


def label(row):
    return "-".join(str(row[name]) for name in ("target", "a", "tile_m", "tile_n", "tile_k"))


@pytest.mark.parametrize(
    "stage, row", shipped(), ids=lambda v: v if isinstance(v, str) else label(v)
)
def test_shipped_rows_fit_their_target(stage, row, tmp_path):
    """What the compiler says of registers and local memory, and that it multiplies as meant."""
    target = row["target"]
    columns = {name: value for name, value in row.items() if name != "target"}
    build = moe.build_up if stage == "up" else moe.build_down
    with interpret.lowering(target.removeprefix("hip:"), tmp_path):
        build(tmp_path, target, **columns)
    (found,) = tmp_path.rglob("*final_isa.s")
    text = found.read_text()
    sizes = {name: set(map(int, re.findall(rf"\.{name}: +(\d+)", text))) for name in (
        "vgpr_spill_count", "sgpr_spill_count", "private_segment_fixed_size",
        "group_segment_fixed_size",
    )}  # fmt: skip
    assert sizes.pop("group_segment_fixed_size") <= set(range(LDS[target[4:]] + 1))
    assert all(each == {0} for each in sizes.values()), sizes
    of_bf16 = "16x16x16_bf16" if target == "hip:gfx942" else "16x16x32_bf16"
    multiply = f"f32_{of_bf16}" if row["a"] == "bf16" else "scale_f32_16x16x128_f8f6f4"
    assert set(re.findall(r"v_mfma_(\w+)", text)) == {multiply}


LAUNCHES = """
import sys, pathlib, torch
from aot_kernels.flydsl import moe
target, cache = sys.argv[1], pathlib.Path(sys.argv[2])
row = dict(a="bf16", w="bf16", tile_m=16, tile_n=64, tile_k=64, out="bf16")
row |= dict(model_dim=256, inter_dim=256)
up, down = dict(row, activation="silu"), row
moe.build_up(".", target, **up)
moe.build_down(".", target, **down)
print(len(list(cache.rglob("*.pkl"))))
x = torch.zeros(64)
for tokens, together, blocks in ((1, 0, 304), (4096, 4, 128)):
    numbers = tokens, tokens * 6, 6, 64, together, blocks
    moe.launch_up(moe.up_plan(target, **up), (x.data_ptr(),) * 9, *numbers)
    moe.launch_down(moe.down_plan(target, **down), (x.data_ptr(),) * 10, *numbers)
print(len(list(cache.rglob("*.pkl"))))
moe.build_up(".", target, **dict(up, tile_n=128))
print(len(list(cache.rglob("*.pkl"))))
"""


def test_one_entry_serves_every_launch(tmp_path, fresh_python):
    """A key is that of a plan: addresses, numbers of rows and the order of tiles are not in it."""
    said = fresh_python(
        LAUNCHES, "hip:gfx942", tmp_path, COMPILE_ONLY="1", ARCH="gfx942", FLYDSL_GPU_ARCH="gfx942",
        FLYDSL_RUNTIME_CACHE_DIR=str(tmp_path), PYTHONPATH=f"{ROOT}:{ROOT / 'kernels'}",
    )  # fmt: skip
    assert said.split()[-3:] == ["2", "2", "3"]
