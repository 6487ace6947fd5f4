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

from aot_kernels.flydsl.moe_plan import BITS, Plan, down_plan, threads, up_plan
from aot_kernels.flydsl.moe_rows import add_choices, expert_rows


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
