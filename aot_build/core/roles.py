"""Paths by role: the same text in every checkout, environment and machine.

A role is a name for a root directory. `{project}/demo/a.h` names a file in whichever checkout is
being built; a path under no other root is `{system}/usr/include/stdio.h`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Roles:
    """`roots` maps role names to absolute directories without a trailing slash."""

    roots: Mapping[str, str]
    _deepest_first: tuple[tuple[str, str], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ordered = sorted(self.roots.items(), key=lambda item: (-len(item[1]), item[0]))
        object.__setattr__(self, "_deepest_first", tuple(ordered))

    def encode(self, path: str) -> str:
        """The path by role; the deepest root that holds it wins. `path` is absolute."""
        for role, root in self._deepest_first:
            if path == root:
                return f"{{{role}}}"
            if path.startswith(root + os.sep):
                return f"{{{role}}}/{path[len(root) + 1 :]}"
        return "{system}" + path

    def decode(self, text: str) -> str:
        """The absolute path of a path by role. Raises KeyError for a role that is not known."""
        if text.startswith("{system}"):
            return text[len("{system}") :]
        role, _, rest = text[1:].partition("}")
        return self.roots[role] + rest

    def encode_text(self, text: str) -> str:
        """Replace every root inside a longer text, such as a flag or a search path."""
        for role, root in self._deepest_first:
            text = text.replace(root, f"{{{role}}}")
        return text

    def expand(self, text: str) -> str:
        """Replace every `{role}` inside a longer text by its root; other braces are left alone."""
        for role, root in self._deepest_first:
            text = text.replace(f"{{{role}}}", root)
        return text
