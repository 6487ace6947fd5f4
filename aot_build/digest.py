"""Digests, and the canonical encoding that they are taken over.

Inputs and keys are xxh3-128 (fast, local); blobs, and whatever leaves the machine, are SHA-256.
"""

import dataclasses
import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import xxhash

CHUNK = 1 << 20


def canonical(value: object) -> bytes:
    """Encode a value so that no two different values share an encoding.

    Each value is a one-byte type tag, an eight-byte length and its payload; nothing is joined
    without its length, so ("ab", "c") and ("a", "bc") differ, as do 1, 1.0, True and "1".
    Mappings and sets are sorted by their encoded keys: their order never matters. Raises TypeError
    for a value of another type.
    """
    tag, payload = (_BY_TYPE.get(type(value)) or _encoder(value))(value)
    return tag + len(payload).to_bytes(8, "little") + payload


_Encoder = Callable[[Any], tuple[bytes, bytes]]


def _mapping(value: Mapping[object, object]) -> tuple[bytes, bytes]:
    return b"m", b"".join(sorted([canonical(k) + canonical(v) for k, v in value.items()]))


def _sequence(value: Sequence[object]) -> tuple[bytes, bytes]:
    return b"l", b"".join([canonical(each) for each in value])


def _set(value: Set[object]) -> tuple[bytes, bytes]:
    return b"e", b"".join(sorted([canonical(each) for each in value]))


def _dataclass(value: Any) -> tuple[bytes, bytes]:
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return b"d", canonical(type(value).__name__) + canonical(fields)


# This is what keying 10,000 variants spends its time in: the type is looked up, not asked for.
_BY_TYPE: dict[type, _Encoder] = {
    type(None): lambda value: (b"n", b""),
    bool: lambda value: (b"t", b"1" if value else b"0"),
    int: lambda value: (b"i", str(value).encode()),
    float: lambda value: (b"f", struct.pack("<d", value)),
    # Not surrogateescape: it gives two different texts the same bytes.
    str: lambda value: (b"s", value.encode("utf-8", "surrogatepass")),
    bytes: lambda value: (b"b", value),
    dict: _mapping,
    tuple: _sequence,
    list: _sequence,
    set: _set,
    frozenset: _set,
}
_BY_KIND: tuple[tuple[type, _Encoder], ...] = (
    (int, _BY_TYPE[int]),
    (float, _BY_TYPE[float]),
    (str, _BY_TYPE[str]),
    (bytes, _BY_TYPE[bytes]),
    (Mapping, _mapping),
    (Set, _set),
    (Sequence, _sequence),
)


def _encoder(value: object) -> _Encoder:
    """For subclasses and dataclasses."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass
    for kind, encoder in _BY_KIND:
        if isinstance(value, kind):
            return encoder
    raise TypeError(f"no canonical encoding for {type(value).__name__}: {value!r}")


def key_digest(value: object) -> str:
    """xxh3-128 of the canonical encoding: 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(canonical(value))


def bytes_digest(data: bytes) -> str:
    """xxh3-128 of bytes."""
    return xxhash.xxh3_128_hexdigest(data)


def file_digest(path: str | Path) -> str:
    """xxh3-128 of a file's bytes. Raises OSError."""
    state = xxhash.xxh3_128()
    with open(path, "rb", buffering=0) as stream:
        while chunk := stream.read(CHUNK):
            state.update(chunk)
    return state.hexdigest()


def blob_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes: the name of a blob. Raises OSError."""
    with open(path, "rb", buffering=0) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
