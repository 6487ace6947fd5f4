"""The environment of compilers: an allow-list, all of it keyed. Nothing else reaches one.

What else shapes output by being there (`DEPENDENCIES_OUTPUT`, `LANG`, `GCC_COLORS`, `LD_RUN_PATH`,
`CCC_OVERRIDE_OPTIONS`, ...) is left out; a kernel that wants it declares it in its `env`.
"""

import os
from collections.abc import Mapping

OBEYED = (
    "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "LIBRARY_PATH",
    "GCC_EXEC_PREFIX", "COMPILER_PATH", "GCC_COMPARE_DEBUG", "MACOSX_DEPLOYMENT_TARGET",
    "DEVELOPER_DIR", "SDKROOT",
)  # fmt: skip
"""What gcc and clang obey, and keys hold by value. Empty is as good as unset to them."""
ASKED = ("SOURCE_DATE_EPOCH",)
"""What reaches compilers and is part of a trace where one has looked it up, as gcc does where it
comes upon `__DATE__` or `__TIME__`: release builds set it to the time of each commit."""
PATH = "PATH"
"""Reaches compilers as it is: by its folders, `as`, `ld` and what a wrapper calls are found. Keys
hold what is found there, by content: in the toolchain's digest, and in traces."""
LOADER_PATH = "LD_LIBRARY_PATH"
NEEDS_LOADER_PATH = "library-path"
"""Feature of a toolchain whose programs do not load without $LD_LIBRARY_PATH. Those alone see it,
and are keyed by its value too, as linkers look for libraries there; others would have their
libraries replaced by it."""
FIXED = {
    "LC_ALL": "C.UTF-8",
    "SOURCE_DATE_EPOCH": "315532800",
    # A cache below this one would hide what compilers read.
    "CCACHE_DISABLE": "1",
}
"""The same in every build. `__DATE__` is 1 January 1980 where nobody says otherwise."""


def obeyed(env: Mapping[str, str], features: tuple[str, ...] = ()) -> dict[str, str]:
    """What of an environment compilers with these features obey."""
    names = (*OBEYED, LOADER_PATH) if NEEDS_LOADER_PATH in features else OBEYED
    return {name: env[name] for name in names if env.get(name)}


def compiler_env(
    env: Mapping[str, str], folder: str, features: tuple[str, ...] = ()
) -> dict[str, str]:
    """The whole environment of a compiler that is asked something; its home and its temporary files
    are in `folder`."""
    places = {PATH: env.get(PATH, os.defpath), "HOME": folder, "TMPDIR": folder}
    return places | FIXED | obeyed(env, features)
