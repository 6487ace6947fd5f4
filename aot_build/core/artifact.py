"""A file that is an action's output."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Artifact:
    """`name` is relative, with `/`; `digest` is the SHA-256 of its bytes; `size` is in bytes."""

    name: str
    digest: str
    size: int
