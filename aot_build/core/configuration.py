"""What an action is configured with besides its variant (the word is Bazel's)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aot_build.core.roles import Roles
from aot_build.core.toolchain import Toolchain


@dataclass(frozen=True, slots=True)
class Configuration:
    """One for each backend, target and mode of a build."""

    toolchain: Toolchain
    mode: str
    roles: Roles
    flags: tuple[str, ...] = ()
    """Those of the mode."""
    env: Mapping[str, str] = field(default_factory=dict)
    """The environment of the build; a backend picks what its tools obey, and keys it."""
    salt: str = ""
    """Content of the backend's own code."""
