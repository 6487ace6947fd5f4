"""States of gated delta nets: rows of the tables that ROCm/aiter's `chunk_gdn_h` is tuned with."""

from collections.abc import Iterator, Sequence

from aot_kernels.tuned.table import Broken, Made, Row, rows

TARGETS = ("hip:gfx942", "hip:gfx950", "hip:gfx1250")
NUMBERS = ("K", "V", "BT", "BV", "H", "Hg")
FLAGS = ("use_h0", "store_fs", "is_varlen")
COLUMNS = ("dtype", *NUMBERS, *FLAGS, "snapshot_bf16", "state_bf16")
POWERS = (16, 32, 64, 128, 256)


def triton(targets: Sequence[str]) -> Iterator[Made | ValueError]:
    """Variants of `triton/chunk_gdn_h.py`, whatever is being built.

    BV is the tuned one. Any BV serves any length: the launcher picks, of those that were tuned
    for a shape, one that fits the length at hand, and so never wants one that is not there.
    """
    return rows(COLUMNS, TARGETS, _variant, targets)


def _variant(row: Row) -> list[Made]:
    numbers = {name: row.number(name) for name in NUMBERS}
    dtype = row.dtype("dtype")
    if dtype not in ("bf16", "fp16"):
        raise Broken(f"unsupported dtype {dtype!r}; known: bf16, fp16")
    _check(numbers)
    kept = {True: dtype, False: "fp32"}
    return [{
        "dtype": dtype, "snapshot": kept[row.flag("snapshot_bf16")],
        "state": kept[row.flag("state_bf16")], **numbers,
        **{name: row.flag(name) for name in FLAGS}, "num_warps": 4, "num_stages": 2,
    }]  # fmt: skip


def _check(numbers: dict[str, int]) -> None:
    for name in ("K", "BT", "BV"):
        if numbers[name] not in POWERS:
            raise Broken(f"{name} = {numbers[name]} is none of {', '.join(map(str, POWERS))}")
    for name, part in (("V", "BV"), ("H", "Hg")):
        if numbers[name] % numbers[part]:
            raise Broken(f"{name} = {numbers[name]} is no multiple of {part} = {numbers[part]}")
