# mypy: ignore-errors
"""Mixture of experts in two stages: gate and up, then down, each row with its expert's weights.

Rows come as `aot_kernels.routing.sort_by_expert` puts them. Stage 1 gathers tokens and leaves a
row for each choice of a token; stage 2 leaves a row for each too, times its weight, and a second
kernel adds those of a token in their order. Atomics would add them as they arrive, so that results
differ from run to run: rows of tuned tables that say so get this as well.

Operands are bf16 on gfx942 and gfx950; on gfx950 also fp8 (e4m3fn) or fp4 (e2m1) rows with fp4
weights, each with e8m0 scales of 32 elements: `aot_kernels.mx`. Weights lie as
`aot_kernels.shuffled` puts them.
Buffers are below 4 GiB, but for the weights of all experts together.
"""

import flydsl.compiler as flyc
import flydsl.expr as fx

from aot_kernels.flydsl.moe_rows import BITS, STEP, Plan, add_choices, expert_rows, threads
from aot_kernels.flydsl.tile import LOCAL_BYTES
from aot_kernels.gated import gated

LDS = {arch: LOCAL_BYTES[arch] for arch in ("gfx942", "gfx950")}
"""Bytes of a block, where there are instructions for it."""


@flyc.jit
def moe_up(
    x: fx.Pointer,
    x_scale: fx.Pointer,
    w: fx.Pointer,
    w_scale: fx.Pointer,
    ids: fx.Pointer,
    experts: fx.Pointer,
    used: fx.Pointer,
    y: fx.Pointer,
    y_scale: fx.Pointer,
    tokens: fx.Int32,
    slots: fx.Int32,
    topk: fx.Int32,
    sort_block: fx.Int32,
    together: fx.Int32,
    blocks: fx.Int32,
    plan: fx.Constexpr[tuple],
    stream: fx.Stream,
):
    expert_rows(
        x, x_scale, w, w_scale, ids, experts, used, x, y, y_scale, tokens, slots, topk, sort_block,
        together, plan,
    ).launch(grid=(blocks, 1, 1), block=(threads(Plan(*plan)), 1, 1), stream=stream)  # fmt: skip


@flyc.jit
def moe_down(
    x: fx.Pointer,
    x_scale: fx.Pointer,
    w: fx.Pointer,
    w_scale: fx.Pointer,
    ids: fx.Pointer,
    experts: fx.Pointer,
    used: fx.Pointer,
    factors: fx.Pointer,
    y: fx.Pointer,
    total: fx.Pointer,
    tokens: fx.Int32,
    slots: fx.Int32,
    topk: fx.Int32,
    sort_block: fx.Int32,
    together: fx.Int32,
    blocks: fx.Int32,
    sum_blocks: fx.Int32,
    plan: fx.Constexpr[tuple],
    stream: fx.Stream,
):
    expert_rows(
        x, x_scale, w, w_scale, ids, experts, used, factors, y, y, slots, slots, fx.Int32(1),
        sort_block, together, plan,
    ).launch(grid=(blocks, 1, 1), block=(threads(Plan(*plan)), 1, 1), stream=stream)  # fmt: skip
    add_choices(y, total, tokens, topk, plan).launch(
        grid=(sum_blocks, 1, 1), block=(256, 1, 1), stream=stream
    )


def up_plan(
    target, model_dim, inter_dim, a, w, out, activation, tile_m, tile_n, tile_k,
    interleaved=False, k_waves=1, nontemporal=True,
):  # fmt: skip
    """What stage 1 is compiled for.

    `tile_n` counts gate and up columns each; of interleaved weights, both together.
    Raises ValueError for what the kernel cannot do.
    """
    columns = tile_n // 2 if interleaved else tile_n
    return _checked(
        Plan(
            _arch(target), "up", a, out, inter_dim, model_dim, tuple(gated(activation)), tile_m,
            columns, tile_k, interleaved, _n_waves(columns, out, k_waves), k_waves,
            2 if nontemporal else 0,
        ),
        w,
    )  # fmt: skip


def down_plan(
    target, model_dim, inter_dim, a, w, out, tile_m, tile_n, tile_k, nontemporal=False
):  # fmt: skip
    """What stage 2 is compiled for. Raises ValueError for what the kernel cannot do."""
    return _checked(
        Plan(
            _arch(target), "down", a, out, model_dim, inter_dim, (), tile_m, tile_n, tile_k, False,
            _n_waves(tile_n, out, 1), 1, 2 if nontemporal else 0,
        ),
        w,
    )  # fmt: skip


def _arch(target):
    return str(target).removeprefix("hip:")


def _n_waves(columns, out, k_waves):
    """Up to four waves side by side; scales of results are of 32 columns, which one wave has."""
    return max(1, min(4, columns // (16 if out == "bf16" and k_waves == 1 else 32)))


def _checked(plan, w):
    scaled = plan.a != "bf16"
    slab = plan.tile_k * BITS[plan.a] // 8
    lds = 2 * plan.k_waves * plan.tile_m * slab
    results = threads(plan) * plan.tile_m * plan.columns // plan.n_waves // 64
    results *= 0 if plan.k_waves == 1 else 8 if plan.stage == "up" else 4
    wave = plan.columns // plan.n_waves
    # Rows are swizzled by powers of 2; a load of scales has at most four words.
    steps = [STEP[plan.a] * count for count in (1, 2, 4)]
    wrong = {
        f"no operands {plan.a} and {w} on {plan.arch}": plan.arch not in LDS
        or w != ("fp4" if scaled else "bf16")
        or (scaled and plan.arch != "gfx950"),
        f"no result in {plan.out}": plan.out != "bf16"
        and (plan.stage == "down" or plan.arch != "gfx950" or wave % 32 > 0),
        f"tile_m {plan.tile_m} is no multiple of 16": plan.tile_m % 16 > 0,
        f"{plan.n} columns are no multiple of {plan.columns}": plan.n % plan.columns > 0,
        f"{plan.columns} columns for {plan.n_waves} waves": wave % 16 > 0 or wave == 0,
        f"tile_k {plan.tile_k} is none of {steps}": plan.tile_k not in steps,
        f"{plan.k} is no multiple of {plan.k_waves} x {plan.tile_k}": plan.k
        % (plan.k_waves * plan.tile_k)
        > 0,
        f"{max(lds, results)} bytes of LDS": max(lds, results) > LDS.get(plan.arch, 0),
        f"{threads(plan)} threads": threads(plan) > 1024,
    }
    found = [name for name, is_so in wrong.items() if is_so]
    if found:
        raise ValueError(f"cannot make {plan}: {'; '.join(found)}")
    return plan


def launch_up(plan, addresses, tokens, slots, topk, sort_block, together=0, blocks=1, stream=None):
    """Stage 1. `addresses` are those of x, x_scale, w, w_scale, ids, experts, used, y, y_scale.

    Scales that do not exist may have any address. `together`: how many rows of tiles neighbours
    on a die share; 0: no such order.
    """
    _check_size(plan, slots)
    numbers = (tokens, slots, topk, sort_block, together, blocks)
    moe_up(*_pointers(addresses), *numbers, tuple(plan), fx.Stream(stream))


def launch_down(
    plan, addresses, tokens, slots, topk, sort_block, together=0, blocks=1, stream=None
):
    """Stage 2. `addresses` are those of x, x_scale, w, w_scale, ids, experts, used, weights of
    choices (fp32), y (slots, N), the sum (tokens, N).

    Of choices that go to no expert, the rows of y are what they were.
    """
    _check_size(plan, slots)
    numbers = (tokens, slots, topk, sort_block, together, blocks)
    sum_blocks = -(-tokens * plan.n // 8 // 256)
    moe_down(*_pointers(addresses), *numbers, sum_blocks, tuple(plan), fx.Stream(stream))


def _pointers(addresses):
    return [flyc.from_c_void_p(fx.Int8, at, assumed_align=16) for at in addresses]


def _check_size(plan, slots):
    """Rows that nobody wants go past the end, which is to be an offset too."""
    if (slots + 1) * plan.n * BITS[plan.out] // 8 > 1 << 32:
        raise ValueError(f"a result of {slots} rows x {plan.n} columns is larger than 4 GiB")


def build_up(out_dir, target, **row):
    """Compile stage 1 for a row: `up_plan` says its columns. Nothing runs."""
    launch_up(up_plan(target, **row), (0,) * 9, 1, 1, 1, 1)


def build_down(out_dir, target, **row):
    """Compile stage 2 and its sum for a row: `down_plan` says its columns. Nothing runs."""
    launch_down(down_plan(target, **row), (0,) * 10, 1, 1, 1, 1)
