"""Rows of matrix products, out of tuned tables: those of ROCm/aiter's `gemm_a16w16` and
`gemm_a8w8_bpreshuffle`, where a shape's kernel has a name, or for Triton a tile that is picked.

The notations are those of ROCm/aiter: `get_flydsl_splitk_hgemm_kernel_params` of its
`gemm_kernels.py`, `kernelInstance` of its `flydsl_gemm_a8w8_bpreshuffle_common.py` and
`parse_wmma_kernel_name` of its `bpreshuffle_gemm_gfx1250.py` write and read them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from aot_kernels.flydsl.tile import FIXED_A8W8, Tile, problem
from aot_kernels.tuned.table import Broken, Foreign, Made, Row, one_of, rows

FLYDSL_TARGETS = ("hip:gfx942", "hip:gfx950")
FLYDSL_A8W8_TARGETS = (*FLYDSL_TARGETS, "hip:gfx1250")
FLYDSL_COLUMNS = ("libtype", "kernelName", "N", "K")
# `c_to_lds` is left out: here a lane holds neighbours of C, and stores them without a detour.
GEMM = re.compile(
    r"flydsl_gemm(?P<STAGES>\d+)_a(?P<dtype>[a-z0-9]+)_w(?P=dtype)_[a-z0-9]+"
    r"_t(?P<BM>\d+)x(?P<BN>\d+)x(?P<BK>\d+)_split_k(?P<SPLIT>\d+)_block_m_warp(?P<WM>\d+)"
    r"_block_n_warp(?P<WN>\d+)_block_k_warp(?P<WK>\d+)_async_copy(?P<ASYNC>True|False)"
    r"_b_to_lds(?P<B_LDS>True|False)_b_preshuffle(?P<PRESHUFFLE>True|False)"
    r"_c_to_lds(?:True|False)_gfx[0-9a-f]+"
)
# The last word is left out: it says how instructions are ordered, which is left to LLVM here.
A8W8 = re.compile(
    r"flydsl_bpreshuflle_(?P<BM>\d+)x(?P<BN>\d+)x(?P<BK>\d+)_(?P<a>\w+?)_(?P<w>\w+?)_(?P<out>\w+?)"
    r"_(?P<ASYNC>[01])x(?P<WAVES>\d)x(?P<DIES>\d+)x(?P<STAGES>\d+)_[a-z]+"
)
# So are `cm` and `cn`: clusters of blocks share loads, and change no result.
WMMA = re.compile(
    r"flydsl_bpreshuffle_wmma_t(?P<BM>\d+)x(?P<BN>\d+)x(?P<BK>\d+)_mw(?P<WM>\d+)_nw(?P<WN>\d+)"
    r"_nb(?P<STAGES>\d+)_sk(?P<SPLIT>\d+)_cm\d+_cn\d+"
)
SHORT = {"F8": "fp8", "I8": "int8", "B16": "bf16", "F16": "fp16"}

TRITON_TARGETS = ("hip:gfx942", "hip:gfx950", "hip:gfx1250")
TRITON_COLUMNS = ("M", "N", "K", "dtype", "outdtype", "scaleAB", "bpreshuffle", "libtype")

SKINNY = {"BM": 16, "BN": 64, "BK": 256, "GROUP": 1, "num_warps": 4}
SMALL = {"BM": 64, "BN": 64, "BK": 128, "GROUP": 4, "num_warps": 4}
LARGER = (
    {"BM": 256, "BN": 128, "BK": 64, "GROUP": 4, "num_warps": 8},
    {"BM": 128, "BN": 128, "BK": 64, "GROUP": 4, "num_warps": 4},
)
"""Largest first: the larger, the less is read of A and B."""
DIES = {"hip:gfx942": 8, "hip:gfx950": 8, "hip:gfx1250": 1}


def flydsl(targets: Sequence[str]) -> Iterator[Made | ValueError]:
    """Rows of `aot_kernels.flydsl.gemm:build`."""
    return rows((*FLYDSL_COLUMNS, "bias", "outdtype"), FLYDSL_TARGETS, _gemm, targets)


def flydsl_a8w8(targets: Sequence[str]) -> Iterator[Made | ValueError]:
    """Rows of `aot_kernels.flydsl.gemm:build_a8w8`."""
    return rows((*FLYDSL_COLUMNS, "q_dtype_w"), FLYDSL_A8W8_TARGETS, _a8w8, targets)


def triton(targets: Sequence[str]) -> Iterator[Made | ValueError]:
    """Variants of `triton/gemm.py` for the rows of library `triton`, whatever is being built.

    Such a row names no tile ("auto"): `tile` picks it. The kernel takes M, N, K and the split at
    run time, so that a table becomes as many variants as it has targets and tiles. Its result has
    the type of its operands.
    """
    return rows(TRITON_COLUMNS, TRITON_TARGETS, _triton, targets)


def tile(m: int, n: int, processors: int) -> dict[str, int]:
    """Up to 16 rows: the skinny tile. Else the largest that has a program for every processor,
    or the small one where none has.
    """
    if m <= SKINNY["BM"]:
        return SKINNY
    for larger in LARGER:
        if -(-m // larger["BM"]) * -(-n // larger["BN"]) >= processors:
            return larger
    return SMALL


def _triton(row: Row) -> list[Made]:
    library = row.text("libtype")
    if library != "triton":
        if library == "flydsl":
            return []
        raise Foreign(library)
    dtype, out = row.dtype("dtype"), row.dtype("outdtype")
    if dtype not in ("bf16", "fp16") or row.flag("scaleAB") or row.flag("bpreshuffle"):
        raise Foreign(f"triton on {dtype}, scaled or shuffled")
    if out != dtype:
        raise Foreign(f"triton from {dtype} to {out}")
    chosen = tile(row.number("M"), row.number("N"), row.number("cu_num"))
    row.number("K")
    return [{
        "dtype": dtype, "TRANS_B": True, **chosen, "DIES": DIES[row.target(TRITON_TARGETS)],
        "num_stages": 2, "matrix_instr_nonkdim": 16,
    }]  # fmt: skip


def _gemm(row: Row) -> Iterator[Made]:
    if row.text("libtype") == "triton":
        return iter(())
    name = _name(row)
    if "_small_m" in name:
        raise Foreign("flydsl small_m")
    if not name.startswith("flydsl_gemm"):
        raise Foreign(_kind(name))
    found = _fields(GEMM, name)
    found["dtype"] = one_of("dtype", str(found["dtype"]), {"bf16": "bf16", "f16": "fp16"})
    row.check_type("dtype", str(found["dtype"]))
    found["out"] = row.dtype("outdtype")
    found["BIAS"] = row.flag("bias", False)
    # Preshuffled weights lie as registers take them.
    found["B_LDS"] = found["B_LDS"] and not found["PRESHUFFLE"]
    return _variant(row, found, {})


def _a8w8(row: Row) -> Iterator[Made]:
    name = _name(row)
    if name.startswith("flydsl_bpreshuflle_"):
        found = _fields(A8W8, name)
        types = [one_of("type", str(found.pop(key)), SHORT) for key in ("a", "w", "out")]
        if types[:2] != ["fp8", "fp8"]:
            raise Foreign(f"flydsl {types[0]}")
        found["out"] = types[2]
    elif name.startswith("flydsl_bpreshuffle_wmma_"):
        found = {**_fields(WMMA, name), "out": "bf16"}
    else:
        raise Foreign(_kind(name))
    row.check_type("q_dtype_w", "fp8")
    return _variant(row, found, FIXED_A8W8)


def _variant(row: Row, found: dict[str, object], fixed: Mapping[str, object]) -> Iterator[Made]:
    """Checked as it will be built; `fixed` is what all rows have in common."""
    arch = row.target(FLYDSL_A8W8_TARGETS).removeprefix("hip:")
    found |= {"N": row.number("N"), "K": row.number("K")}
    if "ASYNC" in found:
        # Only gfx950 copies 16 bytes a lane; elsewhere the data pass through registers.
        found["ASYNC"] = bool(found["ASYNC"]) and arch == "gfx950"
    why = problem(Tile(arch, **{**fixed, **found}))  # type: ignore[arg-type]
    if why:
        raise Broken(why)
    yield found


def _name(row: Row) -> str:
    """The kernel's name, one of FlyDSL's."""
    library = row.text("libtype")
    if library != "flydsl":
        raise Foreign(library)
    return row.text("kernelName")


def _kind(name: str) -> str:
    """What a name of FlyDSL's says before its numbers."""
    if not name.startswith("flydsl_"):
        raise Broken(f"no name of FlyDSL's: {name!r}")
    return (re.match(r"[a-z0-9_]+?(?=_t?\d|$)", name) or [name])[0]


def _fields(notation: re.Pattern[str], name: str) -> dict[str, object]:
    found = notation.fullmatch(name)
    if not found:
        raise Broken(f"a kernel name that cannot be made out: {name!r}")
    return {key: _value(text) for key, text in found.groupdict().items()}


def _value(text: str) -> object:
    if text in ("True", "False"):
        return text == "True"
    return int(text) if text.isdigit() else text
