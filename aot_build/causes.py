"""What usually makes two builds of one source differ, where the bytes show it."""

import re
import struct
import time
from collections.abc import Callable, Iterator, Sequence

AROUND = 96
"""Bytes on either side of a difference that are looked at."""
DAY = 86_400
EARLIEST = 1_577_836_800
"""1 January 2020: an older number is hardly the time of a build."""

SCRATCH = "the path of its scratch or output folder is in it, which no two builds share"
CHECKOUT = "a path of the checkout is in it"
TIME = "it holds the time at which it was built"
MACRO = "it holds the time at which it was built, as __DATE__, __TIME__ or __TIMESTAMP__ write it"
UUID = "it holds a random identifier"
ADDRESS = "it holds an address in memory, as repr() of an object writes it"
ORDER = "the same content in another order: a set, a folder's listing or threads decide it"

_WORK = re.compile(rb"/build/aot/work-\d+-[0-9a-f]+/[\w.]*")
_UUID = re.compile(rb"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_NUMBER = re.compile(rb"\d{10,20}")
_CLOCK = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?")
_MACRO = re.compile(rb"[A-Z][a-z]{2} [ \d]\d \d{4}|\b\d\d:\d\d:\d\d\b")
_ADDRESS = re.compile(rb"\b0x[0-9a-f]{8,16}\b")


def hint(kept: bytes, now: bytes, offsets: Sequence[int], project: str = "") -> str:
    """The most usual cause that the neighbourhood of a difference shows; empty where none does.

    `project` is the checkout that was built now.
    """
    for offset in offsets:
        one, two = _around(kept, offset, AROUND), _around(now, offset, AROUND)
        for cause, found in _CAUSES:
            before, after = found(one), found(two)
            if before and after and before != after:
                return cause
        if project and project.encode() in two and project.encode() not in one:
            return CHECKOUT
        if all(_holds_time(_around(image, offset, 8)) for image in (kept, now)):
            return TIME
    return ORDER if _reordered(kept, now) else ""


def _around(image: bytes, offset: int, reach: int) -> bytes:
    return image[max(0, offset - reach) : offset + reach]


def _is_time(number: float) -> bool:
    """Unix time in seconds, or in thousandths, millionths or milliardths of them."""
    latest = time.time() + DAY
    return any(EARLIEST <= number / unit <= latest for unit in (1, 10**3, 10**6, 10**9))


def _times(near: bytes) -> list[bytes]:
    return [*_CLOCK.findall(near), *(n for n in _NUMBER.findall(near) if _is_time(int(n)))]


def _holds_time(near: bytes) -> bool:
    """As a number of 8 bytes. Of 4 bytes, one in 20 numbers would look like a time."""
    return any(map(_is_time, _numbers(near)))


def _numbers(near: bytes) -> Iterator[int]:
    for start in range(len(near) - 7):
        yield struct.unpack_from("<Q", near, start)[0]


def _reordered(kept: bytes, now: bytes) -> bool:
    if len(kept) != len(now) or not 16 < len(kept) <= 1 << 22:
        return False
    return sorted(kept) == sorted(now)


_CAUSES: tuple[tuple[str, Callable[[bytes], list[bytes]]], ...] = (
    (SCRATCH, _WORK.findall),
    (UUID, _UUID.findall),
    (TIME, _times),
    (MACRO, _MACRO.findall),
    (ADDRESS, _ADDRESS.findall),
)
"""With what shows each, in the order in which they are looked for."""
