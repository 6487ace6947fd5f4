"""Where two files that should be the same are not: how many bytes, in which parts, and what they
look like.

Parts are the sections of an ELF file (System V ABI, chapter "Object Files"), as shared libraries,
cubins (`.text.<kernel>`, `.nv.info.<kernel>`) and hsacos are.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from aot_build.causes import hint
from aot_build.rows import DifferenceRow

CHUNK = 1 << 16
GAP = 8
"""Equal bytes that do not end a place: a few digits of two numbers are always the same."""
BEFORE, AFTER = 24, 40
"""Bytes around the first difference that are shown."""
MOST_PLACES = 1000
"""That are remembered; all are counted."""
NOBITS = 8


@dataclass(frozen=True, slots=True)
class Section:
    """Bytes of an ELF file by name."""

    name: str
    start: int
    size: int


def difference(name: str, kept: bytes, now: bytes, project: str = "") -> DifferenceRow:
    """How two files of one name differ. `project` is the checkout that was built now."""
    count, total, places = _places(kept, now)
    first = places[0][0] if places else min(len(kept), len(now))
    return DifferenceRow(
        artifact=name,
        kept_size=len(kept),
        now_size=len(now),
        offset=first,
        differing=total,
        places=count,
        sections=tuple(_differing_sections(kept, now)),
        kept=_excerpt(kept, now, first),
        now=_excerpt(now, kept, first),
        hint=hint(kept, now, [start for start, _ in places[:50]] or [first], project),
    )


def lacking(name: str, kept: bytes | None, now: bytes | None) -> DifferenceRow:
    """A file that only one of the two builds has left."""
    size, size_now = (-1 if each is None else len(each) for each in (kept, now))
    only = "only what is kept has it" if now is None else "only what was built again has it"
    return DifferenceRow(name, size, size_now, hint=only)


def _places(kept: bytes, now: bytes) -> tuple[int, int, list[tuple[int, int]]]:
    """Number of places, number of bytes, and start and end of the first places."""
    count = total = 0
    end = -GAP - 1
    places: list[tuple[int, int]] = []
    for start, stop in _runs(kept, now):
        total += stop - start
        if start - end <= GAP:
            if count <= len(places):
                places[-1] = places[-1][0], stop
        else:
            count += 1
            if len(places) < MOST_PLACES:
                places.append((start, stop))
        end = stop
    return count, total, places


def _runs(kept: bytes, now: bytes) -> Iterator[tuple[int, int]]:
    """Starts and ends of bytes that differ; what one has beyond the other's end differs."""
    common = min(len(kept), len(now))
    for base in range(0, common, CHUNK):
        stop = min(base + CHUNK, common)
        one, two = kept[base:stop], now[base:stop]
        if one != two:
            mixed = int.from_bytes(one, "little") ^ int.from_bytes(two, "little")
            for run in re.finditer(rb"[^\0]+", mixed.to_bytes(stop - base, "little")):
                yield base + run.start(), base + run.end()
    if len(kept) != len(now):
        yield common, max(len(kept), len(now))


# What they look like


def _excerpt(image: bytes, other: bytes, place: int) -> str:
    """The neighbourhood of an offset: text where both are text, else hexadecimal."""
    start, stop = max(0, place - BEFORE), place + AFTER
    shown = image[start:stop]
    if _is_text(shown) and _is_text(other[start:stop]):
        before, after = "..." * (start > 0), "..." * (stop < len(image))
        return f"{before}{shown.decode('utf-8', 'replace')!r}{after}"
    return f"{start:#x}: {shown.hex(' ')}"


def _is_text(sample: bytes) -> bool:
    text = sample.decode("utf-8", "replace")
    odd = sum(not (c.isprintable() or c in "\t\r\n") or c == "\ufffd" for c in text)
    return odd * 16 <= len(text)


# Parts


def sections(image: bytes) -> list[Section]:
    """Those of a little-endian ELF file of 64 bits; none where it is no such file, or not whole."""
    if image[:6] != b"\x7fELF\x02\x01":
        return []
    try:
        (table,) = struct.unpack_from("<Q", image, 0x28)
        size, count, names = struct.unpack_from("<HHH", image, 0x3A)
        headers = [struct.unpack_from("<IIQQQQ", image, table + size * n) for n in range(count)]
        strings = headers[names][4]
        return [
            Section(_name(image, strings + name), start, length)
            for name, kind, _, _, start, length in headers
            if kind not in (0, NOBITS) and length
        ]
    except (struct.error, IndexError, ValueError, OverflowError):
        return []


def _name(image: bytes, place: int) -> str:
    return image[place : image.index(b"\0", place)].decode("utf-8", "replace")


def _differing_sections(kept: bytes, now: bytes) -> Iterator[str]:
    """Names of sections whose bytes are others, in the order of the file; `headers` where all of
    them are alike."""
    ours, theirs = sections(kept), {s.name: s for s in sections(now)}
    if not ours or not theirs:
        return
    alike = True
    for section in ours:
        other = theirs.pop(section.name, None)
        if other is None or _bytes(kept, section) != _bytes(now, other):
            alike = False
            yield section.name
    yield from theirs
    if alike and not theirs:
        yield "headers"


def _bytes(image: bytes, section: Section) -> bytes:
    return image[section.start : section.start + section.size]
