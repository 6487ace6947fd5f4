"""Digests, and the canonical encoding that they are taken over.

Inputs and keys are xxh3-128 (fast, local); blobs, and whatever leaves the machine, are SHA-256.
"""

import dataclasses
import hashlib
import struct
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import xxhash

CHUNK = 1 << 20


def canonical(value: object) -> bytes:
    """Encode a value so that no two different values share an encoding.

    Each value is a one-byte type tag, an eight-byte length and its payload; nothing is joined
    without its length, so ("ab", "c") and ("a", "bc") differ, as do 1, 1.0, True and "1".
    Mappings and sets are sorted by their encoded keys: their order never matters.
    """
    tag, payload = _encode(value)
    return tag + struct.pack("<Q", len(payload)) + payload


def _encode(value: object) -> tuple[bytes, bytes]:
    if value is None:
        return b"n", b""
    if isinstance(value, bool):
        return b"t", b"1" if value else b"0"
    if isinstance(value, int):
        return b"i", str(value).encode()
    if isinstance(value, float):
        return b"f", struct.pack("<d", value)
    if isinstance(value, str):
        # Not surrogateescape: it gives two different texts the same bytes.
        return b"s", value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return b"b", value
    if isinstance(value, Mapping):
        return b"m", b"".join(sorted(canonical(k) + canonical(v) for k, v in value.items()))
    if isinstance(value, Set):
        return b"e", b"".join(sorted(map(canonical, value)))
    if isinstance(value, Sequence):
        return b"l", b"".join(map(canonical, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return b"d", canonical(type(value).__name__) + canonical(fields)
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
