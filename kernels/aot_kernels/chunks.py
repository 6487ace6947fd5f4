"""Sequences cut into chunks."""

from collections.abc import Sequence
from itertools import accumulate, pairwise


def chunk_offsets(ends: Sequence[int], chunk: int) -> list[int]:
    """The number of chunks before each sequence, and of all.

    `ends` are the tokens before each sequence, and all. The last chunk of each may be shorter.
    """
    counts = (-(-(end - start) // chunk) for start, end in pairwise(ends))
    return list(accumulate(counts, initial=0))
