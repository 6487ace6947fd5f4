"""Compilers, their versions, their content digest."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Toolchain:
    """`digest` covers the content of every program and start-up file that it runs or links.

    `command` is how to call it here; it and the paths below never enter a key.
    """

    name: str
    version: str
    digest: str
    command: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    """What it was found to support, such as `openmp`."""
    files: tuple[str, ...] = ()
    """Absolute paths of the files behind `digest`: the snapshot watches them."""
    absent: tuple[str, ...] = ()
    """Absolute paths that would have been chosen instead, had they existed."""
    root: str = ""
    """Folder of the headers and libraries that come with it, where they have one of their own: the
    role `{toolchain}`."""
