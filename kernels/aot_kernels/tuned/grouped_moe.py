"""Grouped products of block-scaled numbers, out of tuned tables."""

from collections.abc import Iterator, Sequence

from aot_kernels.tuned.table import Broken, Foreign, Made, Row, one_of, rows

KNOWN = ("hip:gfx950", "hip:gfx1250")
"""Those whose matrix units take block-scaled numbers."""
COLUMNS = ("q_dtype_a", "q_dtype_w", "q_type", "tile_m", "tile_n", "tile_k", "tile_m2", "m_warp")
BITS = {"fp4": 4, "fp8": 8}
POWERS = {
    "BM": (16, 32, 64, 128, 256), "BN": (16, 32, 64, 128, 256, 512),
    "BK": (64, 128, 256, 512), "num_warps": (1, 2, 4, 8, 16),
}  # fmt: skip
"""What a tile may be: Triton takes powers of two, and compiles larger ones for many minutes."""
NAMES = {"BM": "tile_m", "BN": "tile_n", "BK": "tile_k", "num_warps": "m_warp x n_warp"}


def triton(targets: Sequence[str]) -> Iterator[Made | ValueError]:
    """Variants of `aot_kernels.triton.moe:expert_gemm_mx`: for each row one of either stage.

    What the tables call a tile of the first stage spans both halves of its weights. Split-K, and
    how a tile is copied and its loops run (`cluster_n`, `wave_specialized_tdm`, `split_k1`, ...),
    have no equal in these kernels, and activations and sizes are arguments: rows that differ in
    those alone are one variant.
    """
    return rows(COLUMNS, KNOWN, _made, targets)


def _made(row: Row) -> list[Made]:
    weights, kind = row.dtype("q_dtype_w"), row.text("q_type").rpartition(".")[2]
    if weights != "fp4" or kind != "per_1x32":
        raise Foreign(f"{weights} {kind}")
    if not row.flag("use_g1u1", True) or row.flag("doweight_stage1", False):
        raise Foreign("other first stages")
    shared = {
        "dtype": row.dtype("dtype"), "BITS": one_of("q_dtype_a", row.dtype("q_dtype_a"), BITS),
        "GATHER": False,
    }  # fmt: skip
    made: list[Made] = [
        {
            **shared, "GATED": gated,
            "BM": row.number(f"tile_m{stage}", row.number("tile_m")),
            "BN": row.number(f"tile_n{stage}", row.number("tile_n")) // (2 if gated else 1),
            "BK": row.number(f"tile_k{stage}", row.number("tile_k")),
            "num_warps": row.number(f"m_warp{stage}", 1) * row.number(f"n_warp{stage}", 4),
            "num_stages": row.number(f"num_buffer{'s' if gated else '_stage2'}", 2),
        }
        for gated, stage in ((True, ""), (False, "2"))
    ]  # fmt: skip
    for stage, each in enumerate(made, 1):
        _check(stage, each)
    return made


def _check(stage: int, made: Made) -> None:
    for name, known in POWERS.items():
        if made[name] not in known:
            half = " halved" if name == "BN" and made["GATED"] else ""
            said = ", ".join(map(str, known))
            what = f"{NAMES[name]}{half} of stage {stage}"
            raise Broken(f"{what} is {made[name]}, none of {said}")
