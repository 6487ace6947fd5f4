"""How results, traces and trace lists lie in a file: a digest of the body, then JSON.

Nothing is ever unpickled; a record whose digest does not fit its body is a miss, set aside.
"""

from pathlib import Path
from typing import TypeVar

import msgspec

from aot_build.digest import bytes_digest

T = TypeVar("T")
DIGEST_LENGTH = 32


def encode_record(value: object) -> bytes:
    """xxh3-128 of the body as 32 hexadecimal digits, a newline, the body as JSON."""
    body = msgspec.json.encode(value)
    return bytes_digest(body).encode() + b"\n" + body


class DamagedRecord(Exception):
    """The bytes are not what was written."""


def decode_record(content: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    """Read a record. Raises DamagedRecord."""
    body = content[DIGEST_LENGTH + 1 :]
    if content[:DIGEST_LENGTH] != bytes_digest(body).encode():
        raise DamagedRecord
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise DamagedRecord from error


def read_record(path: Path, decoder: "msgspec.json.Decoder[T]") -> T | None:
    """A record from a file; None where there is none. Raises DamagedRecord."""
    try:
        with open(path, "rb", buffering=0) as stream:
            content = stream.read()
    except OSError:
        return None
    return decode_record(content, decoder)
