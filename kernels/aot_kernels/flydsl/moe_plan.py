# mypy: ignore-errors
"""What the kernels of a mixture of experts are compiled for, and what can be: no FlyDSL in here."""

from typing import NamedTuple

from aot_kernels.flydsl.tile import LOCAL_BYTES
from aot_kernels.gated import gated

LDS = {arch: LOCAL_BYTES[arch] for arch in ("gfx942", "gfx950")}
"""Bytes of a block, where there are instructions for it."""
BITS = {"bf16": 16, "fp8": 8, "fp4": 4}
STEP = {"bf16": 32, "fp8": 128, "fp4": 128}
"""Elements of a sum that a step takes: one instruction, or on gfx942 two."""


class Plan(NamedTuple):
    """What a kernel is compiled for."""

    arch: str
    """gfx942 or gfx950."""
    stage: str
    """up or down."""
    a: str
    """Type of x: bf16 (and of the weights), or fp8 or fp4 with weights in fp4, both scaled."""
    out: str
    """Type of the result: bf16, or fp8 or fp4 with scales."""
    n: int
    """Columns of the result."""
    k: int
    """Columns of x."""
    gate: tuple[float, ...]
    """What joins gate and up, see `aot_kernels.gated`; nothing in stage 2."""
    tile_m: int
    columns: int
    """Columns of the result in a tile."""
    tile_k: int
    interleaved: bool
    """16 gate rows of the weights, 16 up rows and so on, instead of all gate rows first."""
    n_waves: int
    k_waves: int
    """Waves that share a tile's columns; its sums."""
    policy: int
    """Of loads of weights: 0 cached, 2 not."""


def threads(plan):
    """Threads of a block."""
    return 64 * plan.n_waves * plan.k_waves


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
    if min(plan.tile_m, plan.columns, plan.tile_k, plan.k_waves) < 1:
        raise ValueError(f"cannot make {plan}: a tile of nothing")
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
