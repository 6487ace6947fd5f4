"""Which tile of a result a block takes, so that blocks that read the same find it in a cache.

Blocks are dealt to the dies of a GPU in turn, by AMD's hardware; each die of a gfx942 or gfx950
has a second-level cache of its own.
"""

# mypy: ignore-errors
# FlyDSL's language, in Python's syntax.

from aot_kernels.flydsl.memory import smaller

DIES = 8


def neighbours(number, count):
    """The number of a block among `count`, such that those of one die follow one another."""
    die = number % DIES
    return die * (count // DIES) + smaller(die, count % DIES) + number // DIES


def grouped(number, down, across, rows):
    """The place of a tile, down and across: that many rows of tiles, one column after the other."""
    first = number // (rows * across) * rows
    inside, high = number % (rows * across), smaller(down - first, rows)
    return first + inside % high, inside // high
