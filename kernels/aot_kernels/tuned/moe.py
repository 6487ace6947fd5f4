"""Both stages of a mixture of experts, out of tuned tables.

`kernelName1` and `kernelName2` name them: `flydsl_moe1_afp8_wfp4_bf16_t32x128x256_w4_gui_kw2_fp8`,
`flydsl_moe2_afp4_wfp4_bf16_t64x256x256_reduce_bnt2_persist_sbm128_xcd4`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from aot_kernels.flydsl.moe_plan import down_plan, up_plan
from aot_kernels.tuned.table import Broken, Foreign, Made, Row, one_of, rows

KNOWN = ("hip:gfx942", "hip:gfx950")
COLUMNS = (
    "model_dim", "inter_dim", "act_type", "use_g1u1", "doweight_stage1", "run_1stage",
    "kernelName1", "kernelName2",
)  # fmt: skip
NAME = re.compile(
    r"flydsl_moe(?P<stage>[12])_a(?P<a>[a-z0-9]+)_w(?P<w>[a-z0-9]+)_(?P<out>[a-z0-9]+)"
    r"_t(?P<tile_m>\d+)x(?P<tile_n>\d+)x(?P<tile_k>\d+)(?P<options>(?:_[a-z0-9]+)*)"
)
OPERANDS = {
    ("bf16", "bf16"): KNOWN,
    ("fp8", "fp4"): ("hip:gfx950",),
    ("fp4", "fp4"): ("hip:gfx950",),
}
"""Types of rows and weights, and the targets whose matrix units take them. (What the tables call
fp4 and fp8 has e8m0 scales of 32 elements.)"""
TYPES = ("bf16", "f16", "fp16", "fp8", "fp4", "int8", "int4")
ACTIVATIONS = {"Silu": "silu", "Swiglu": "swiglu", "Gelu": None}
PLANS: Mapping[str, Callable[..., object]] = {"1": up_plan, "2": down_plan}
"""What checks a row as it will be built."""
SETTINGS: Mapping[str, Mapping[str, Callable[[str], dict[str, object]]]] = {
    "1": {
        r"gui": lambda _: {"interleaved": True},
        r"kw(\d+)": lambda number: {"k_waves": int(number)},
        r"bnt([02])": lambda number: {"nontemporal": number == "2"},
        r"(fp8|fp4)": lambda kind: {"out": kind},
        # How many waves the library's kernel leaves registers for; ours need other numbers, and
        # would spill where theirs do not. The compiler knows.
        r"w\d+": lambda _: {},
        # An argument: how many rows of tiles neighbours share.
        r"xcd\d+": lambda _: {},
    },
    "2": {
        r"bnt([02])": lambda number: {"nontemporal": number == "2"},
        # Parts are added in their order, whatever a row says: see `flydsl/moe.py`.
        r"atomic|reduce": lambda _: {},
        # Arguments all: the grid, blocks that are sorted together, the order of tiles.
        r"persist|cumul\d+|sbm\d+|xcd\d+": lambda _: {},
        # Rows pass through registers, one slab ahead: there is no other copy to choose.
        r"async": lambda _: {},
        r"w\d+": lambda _: {},
    },
}
"""What may follow a stage's tile, and which columns it sets. What sets none does not change what
we compile; neither do tokens, experts, choices of a token and timings."""


def up(targets: Sequence[str]) -> Iterator[Made | ValueError]:
    """Variants of stage 1, gate and up: columns of `aot_kernels.flydsl.moe_plan:up_plan`."""
    return rows(COLUMNS, KNOWN, partial(_made, "1", _up), targets)


def down(targets: Sequence[str]) -> Iterator[Made | ValueError]:
    """Variants of stage 2, down: columns of `aot_kernels.flydsl.moe_plan:down_plan`."""
    return rows(COLUMNS, KNOWN, partial(_made, "2", _down), targets)


def _made(stage: str, shape: Callable[..., dict[str, object]], row: Row) -> list[Made]:
    name = row.text(f"kernelName{stage}", "Null")
    if not name.startswith(f"flydsl_moe{stage}_a"):
        raise Foreign(_library(name))
    found = NAME.fullmatch(name)
    if not found or found["stage"] != stage:
        raise Broken(f"cannot make out kernelName{stage} {name!r}")
    activation = one_of("act_type", row.text("act_type").rpartition(".")[2], ACTIVATIONS)
    for is_other, what in (
        (not row.flag("use_g1u1"), "without a gate"),
        (row.flag("doweight_stage1"), "weighted in stage 1"),
        (activation is None, "with gelu"),
        (found["out"] != "bf16", f"to {found['out']}"),
    ):
        if is_other:
            raise Foreign(f"flydsl {what}")
    made: dict[str, object] = {"out": found["out"]}
    for option in found["options"].split("_")[1:]:
        made |= _setting(stage, option, name)
    sizes = {key: row.number(key) for key in ("model_dim", "inter_dim")}
    tile = {key: int(found[key]) for key in ("tile_m", "tile_n", "tile_k")}
    made |= _operands(found["a"], found["w"], row.target(KNOWN)) | sizes | tile
    for column, kind in (("q_dtype_a", "a"), ("q_dtype_w", "w"), ("dtype", "out")):
        row.check_type(column, found[kind])
    made |= shape(made, **sizes, **tile, activation=activation)
    try:
        PLANS[stage](row.target(KNOWN), **made)
    except ValueError as error:
        # Without the plan, which says again what the row does.
        raise Broken(str(error).rpartition("): ")[2]) from error
    return [made]


def _library(name: str) -> str:
    """What a row of others is counted as."""
    if name.startswith("_Z"):
        return "asm"
    return "ck" if name.startswith("moe_ck") else name.split("_")[0].lower()


def _setting(stage: str, option: str, name: str) -> dict[str, object]:
    for pattern, columns in SETTINGS[stage].items():
        found = re.fullmatch(pattern, option)
        if found:
            return columns("".join(found.groups()))
    raise Broken(f"unknown {option!r} in kernelName{stage} {name!r}")


def _operands(a: str, w: str, target: str) -> dict[str, object]:
    for side, kind in (("a", a), ("w", w)):
        if kind not in TYPES:
            raise Broken(f"unknown type {side}{kind}; known: {', '.join(TYPES)}")
    if (a, w) not in OPERANDS:
        raise Foreign(f"flydsl {a} x {w}")
    if target not in OPERANDS[a, w]:
        raise Broken(f"{a} x {w} is not for {target}, but {', '.join(OPERANDS[a, w])}")
    return {"a": a, "w": w}


def _up(
    made: Mapping[str, object], *, model_dim: int, inter_dim: int, tile_n: int, activation: str,
    **_: object,
) -> dict[str, object]:  # fmt: skip
    # Of interleaved weights, a tile counts gate and up columns together.
    columns = inter_dim * 2 if made.get("interleaved") else inter_dim
    return {"tile_n": _fitting("tile_n", tile_n, columns), "activation": activation}


def _down(
    made: Mapping[str, object], *, inter_dim: int, tile_k: int, **_: object
) -> dict[str, object]:
    return {"tile_k": _fitting("tile_k", tile_k, inter_dim)}


def _fitting(column: str, tile: int, size: int) -> int:
    """A tile that divides a size: 128 where the one that is named does not, as the library has
    it."""
    for found in (tile, 128):
        if size % found == 0:
            return found
    raise Broken(f"{column} {tile} does not divide {size}")
