"""What a cubin holds: its kernels, their parameters and shared memory.

A cubin is an ELF file (System V ABI, chapters "Object Files"; machine 190). NVIDIA documents none
of its own parts; `cuobjdump -elf` prints them by the names used here. `.nv.info.<kernel>` is a row
of attributes: format (1 byte), attribute (1), then a value of 2 bytes or, in format EIFMT_SVAL, a
size of 2 bytes and that many bytes of payload.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

SYMTAB, RELOCATABLE, CUDA, XINDEX = 2, 1, 190, 0xFFFF
FUNCTION, ENTRY, LOCAL = 2, 0x10, 0
EIFMT_SVAL = 4
EIATTR_KPARAM_INFO, EIATTR_KPARAM_INFO_V2 = 0x17, 0x45
"""index (4 bytes), ordinal (2), offset (2), then 2 and size << 2 (2), or size (2) and 2."""
RESERVED = 1024
"""Bytes of shared memory that the system keeps, from sm_90 on part of every kernel's section."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A function that can be launched. Sizes and offsets are in bytes."""

    shared: int
    """Static shared memory, the system's own share not counted."""
    params: tuple[tuple[int, int], ...]
    """Offset in the parameter buffer and size, in order."""
    local: bool = False
    """Not visible outside of its source: `static`, or in an unnamed namespace."""


@dataclass(frozen=True, slots=True)
class Cubin:
    """One cubin."""

    relocatable: bool
    """Made with `-rdc=true`: it must be linked before it can be loaded."""
    toolkit: str
    """CUDA release that it needs of the driver, at least of the same major: `13.0`, or nothing."""
    kernels: dict[str, Kernel] = field(default_factory=dict)
    """By symbol, sorted."""


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    kind: int
    link: int
    size: int
    body: bytes


@dataclass(frozen=True, slots=True)
class _Symbol:
    name: str
    kind: int
    binding: int
    other: int


def read_cubin(image: bytes) -> Cubin:
    """Read a cubin. Raises ValueError where it is none, or not a whole one."""
    try:
        return _read(image)
    except (struct.error, IndexError) as error:
        raise ValueError(f"it ends early ({error})") from error


def _read(image: bytes) -> Cubin:
    kind, machine = struct.unpack_from("<HH", image, 16)
    if image[:5] != b"\x7fELF\x02" or machine != CUDA:
        raise ValueError("it has another format")
    sections = _sections(image)
    by_name = {section.name: section for section in sections}
    symbols = [symbol for s in sections if s.kind == SYMTAB for symbol in _symbols(s, sections)]
    reserved = any(symbol.name.startswith(".nv.reservedSmem") for symbol in symbols)
    kernels = {}
    for symbol in symbols:
        if symbol.kind == FUNCTION and symbol.other & ENTRY:
            info, shared = (by_name.get(f".nv.{n}.{symbol.name}") for n in ("info", "shared"))
            kernels[symbol.name] = Kernel(
                shared=max(0, shared.size - RESERVED * reserved) if shared else 0,
                params=tuple(_params(info.body if info else b"")),
                local=symbol.binding == LOCAL,
            )
    note = by_name.get(".note.nv.cuinfo")
    toolkit = _toolkit(note.body) if note else ""
    return Cubin(kind == RELOCATABLE, toolkit, dict(sorted(kernels.items())))


def _sections(image: bytes) -> list[_Section]:
    (start,) = struct.unpack_from("<Q", image, 0x28)
    count, names = struct.unpack_from("<HH", image, 0x3C)
    # Numbers that do not fit are in the first section's header.
    if not count:
        (count,) = struct.unpack_from("<Q", image, start + 0x20)
    if names == XINDEX:
        (names,) = struct.unpack_from("<I", image, start + 0x28)
    headers = [struct.unpack_from("<IIQQQQIIQQ", image, start + 64 * n) for n in range(count)]
    text = image[headers[names][4] :]
    return [
        _Section(_text(text, name), kind, link, size, image[place : place + size])
        for name, kind, _, _, place, size, link, *_ in headers
    ]


def _symbols(table: _Section, sections: list[_Section]) -> Iterator[_Symbol]:
    text = sections[table.link].body
    for name, info, other, _, _, _ in struct.iter_unpack("<IBBHQQ", table.body):
        yield _Symbol(_text(text, name), info & 15, info >> 4, other)


def _params(info: bytes) -> list[tuple[int, int]]:
    found = {}
    for attribute, payload in _attributes(info):
        if attribute in (EIATTR_KPARAM_INFO, EIATTR_KPARAM_INFO_V2):
            _, ordinal, offset, first, second = struct.unpack("<IHHHH", payload)
            size = second >> 2 if attribute == EIATTR_KPARAM_INFO else first
            found[ordinal] = (offset, size)
    return [found[ordinal] for ordinal in sorted(found)]


def _attributes(info: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(info):
        form, attribute, size = struct.unpack_from("<BBH", info, place)
        place += 4
        if form == EIFMT_SVAL:
            yield attribute, info[place : place + size]
            place += size


def _toolkit(note: bytes) -> str:
    """After the header and owner of the note: a version, the virtual architecture, the release."""
    size, _, _ = struct.unpack_from("<III", note)
    (release,) = struct.unpack_from("<H", note, 12 + -(-size // 4) * 4 + 4)
    return f"{release // 10}.{release % 10}"


def _text(table: bytes, place: int) -> str:
    return table[place : table.index(b"\0", place)].decode()
