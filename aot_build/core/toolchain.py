"""Compilers, their versions, their content digest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Brings = Callable[[tuple[str, ...], Mapping[str, str]], dict[str, str]]


def _nothing(words: tuple[str, ...], env: Mapping[str, str]) -> dict[str, str]:
    return {}


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
    """Folder of the headers and libraries that come with it, where they have one of their own."""
    role: str = "toolchain"
    """What paths below `root` are written by."""
    parts: tuple[tuple[str, str, str], ...] = field(default=(), compare=False)
    """What stands behind `digest`, for people: name, path, digest of the content."""
    brings: Brings = field(default=_nothing, compare=False, repr=False)
    """What words of a command line, and variables of a kernel's own, bring into play that `digest`
    does not cover: `-march=native` the features of this host, `-fuse-ld=lld` another linker. Part
    of a key -> its value. Asks the compiler, once a build for the same words."""
