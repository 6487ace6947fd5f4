"""What a block of a matrix product does, and with which instruction: no FlyDSL in here."""

from typing import NamedTuple

CHUNK = 16
"""Bytes that a thread moves at once."""
LOCAL_BYTES = {"gfx942": 64 << 10, "gfx950": 160 << 10, "gfx1250": 320 << 10}
"""Local memory of a block."""
AHEAD_BYTES = 256
"""Of B that a lane reads ahead: 64 of 256 to 512 registers, and as many for what it multiplies."""
ELEMENT_BYTES = {"fp8": 1, "bf16": 2, "fp16": 2, "fp32": 4}


class Tile(NamedTuple):
    """One variant. K is a multiple of SPLIT * BK, N of BN, BM of 16 * WM, BN of 16 * WN."""

    arch: str
    dtype: str
    """Of A and B: bf16, fp16 or fp8, which is e4m3fnuz on gfx942, else e4m3fn."""
    out: str
    N: int
    K: int
    BM: int
    BN: int
    BK: int
    SPLIT: int = 1
    """Parts of K that different blocks multiply."""
    WM: int = 1
    WN: int = 4
    WK: int = 1
    """Waves down, across, and along K."""
    STAGES: int = 2
    """Tiles that local memory holds."""
    ASYNC: bool = False
    """Copied into local memory without passing through registers."""
    B_LDS: bool = True
    """B passes through local memory; else each wave loads what it needs of it."""
    PRESHUFFLE: bool = False
    """B lies as `aot_kernels.shuffled` puts it, so that lanes load neighbours."""
    BIAS: bool = False
    SCALED: bool = False
    """A has a factor for each row, B for each column, in fp32."""
    WAVES: int = 0
    """Waves that a SIMD shall have room for; 0 says nothing."""
    DIES: int = 0
    """Not 0: blocks are dealt so that each of 8 dies gets neighbours, this many rows at a time."""


FIXED_A8W8 = {"dtype": "fp8", "SCALED": True, "PRESHUFFLE": True, "B_LDS": False}
"""What all variants for 8-bit weights with scales have in common."""


def lanes(tile: Tile) -> int:
    """Of a wave."""
    return 64 if tile.arch.startswith("gfx9") else 32


def threads(tile: Tile) -> int:
    """Of a block."""
    return lanes(tile) * tile.WM * tile.WN * tile.WK


def row_bytes(tile: Tile) -> int:
    """Of one row of a tile of A or B."""
    return tile.BK * ELEMENT_BYTES[tile.dtype]


def operand_bytes(tile: Tile) -> int:
    """Bytes that one lane holds of an operand of the matrix instruction.

    The products of AMD's CDNA3 (16x16x16 of 16 bits, 16x16x32 of 8), CDNA4 (x32, x128), and
    gfx1250 (x32, x64).
    """
    if tile.arch == "gfx942":
        return 8
    if tile.arch == "gfx950":
        deep = row_bytes(tile) // tile.WK % 128 == 0
        return (32 if deep else 8) if tile.dtype == "fp8" else 16
    return 32


def depth(tile: Tile) -> int:
    """Columns of A that one matrix instruction takes."""
    return operand_bytes(tile) * (lanes(tile) // 16) // ELEMENT_BYTES[tile.dtype]


def loads(tile: Tile, rows: int) -> int:
    """Times that every thread copies CHUNK bytes until `rows` of a tile are copied."""
    return -(-rows * row_bytes(tile) // (threads(tile) * CHUNK))


def read_ahead(tile: Tile) -> bool:
    """Does a lane hold what it needs of B for this step and the next one?

    Not where that is local, nor where it takes more registers than there are to spare.
    """
    each = tile.BN // tile.WN * row_bytes(tile) // tile.WK // lanes(tile)
    return not tile.B_LDS and each <= AHEAD_BYTES


def stage_bytes(tile: Tile) -> int:
    """Of local memory, for one tile of A, and one of B if that passes through it."""
    times = loads(tile, tile.BM) + (loads(tile, tile.BN) if tile.B_LDS else 0)
    return times * threads(tile) * CHUNK


def local_bytes(tile: Tile) -> int:
    """Of local memory for a block."""
    parts = (tile.WK - 1) * tile.BM * tile.BN * 4
    return max(tile.STAGES * stage_bytes(tile), parts)


def problem(tile: Tile) -> str:
    """Why there can be no such kernel; nothing where there can."""
    group = max(operand_bytes(tile), CHUNK) * (lanes(tile) // 16) * tile.WK
    most = LOCAL_BYTES[tile.arch]
    checks = {
        "dtype": tile.dtype in ("bf16", "fp16", "fp8"),
        f"K is no multiple of {tile.SPLIT * tile.BK}": tile.K % (tile.SPLIT * tile.BK) == 0,
        f"N is no multiple of {tile.BN}": tile.N % tile.BN == 0,
        f"BM is no multiple of {16 * tile.WM}": tile.BM % (16 * tile.WM) == 0,
        f"BN is no multiple of {16 * tile.WN}": tile.BN % (16 * tile.WN) == 0,
        f"a row of BK is no multiple of {group} bytes": row_bytes(tile) % group == 0,
        "a tile's rows of A, B or C span 1 GiB": max(
            tile.BM * tile.K, tile.BN * tile.K, tile.BM * tile.N * 4
        )
        < 1 << 29,
        "BK is no power of two": tile.BK & (tile.BK - 1) == 0,
        f"{threads(tile)} threads": threads(tile) <= 1024,
        f"{local_bytes(tile)} bytes of local memory, of which {tile.arch} has {most}": (
            local_bytes(tile) <= most
        ),
        f"no asynchronous copy on {tile.arch}": not tile.ASYNC or tile.arch == "gfx950",
        "B passes through local memory and is preshuffled": not (tile.B_LDS and tile.PRESHUFFLE),
    }
    return next((text for text, good in checks.items() if not good), "")
