"""How results, traces and trace lists lie in a file: a digest of the body, then JSON.

Nothing is ever unpickled; a record whose digest does not fit its body is a miss, set aside.
"""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from aot_build.core.result import ActionResult
from aot_build.digest import bytes_digest
from aot_build.files import open_at_once

T = TypeVar("T")
DIGEST_LENGTH = 32


def encode_record(value: object) -> bytes:
    """xxh3-128 of the body as 32 hexadecimal digits, a newline, the body as JSON."""
    body = msgspec.json.encode(value)
    return bytes_digest(body).encode() + b"\n" + body


def result_record(result: ActionResult, base_key: str, trace_id: str) -> dict[str, Any]:
    """A result as it is written: with what leads to it, for whoever collects garbage."""
    own = {field.name: getattr(result, field.name) for field in fields(result)}
    return {**own, "base_key": base_key, "trace_id": trace_id}


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


def read_dated(path: Path, decoder: "msgspec.json.Decoder[T]") -> tuple[T, int] | None:
    """A record from a file, and the file's mtime (Unix time in ns); None where there is none.

    Raises DamagedRecord.
    """
    try:
        with open(path, "rb", buffering=0, opener=open_at_once) as stream:
            used_ns = os.fstat(stream.fileno()).st_mtime_ns
            content = stream.read()
    except OSError:
        return None
    return decode_record(content, decoder), used_ns
