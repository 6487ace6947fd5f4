"""Variables of FlyDSL's: which of them shape what it makes, and which are ours.

Its utils/env.py and `_CACHE_INVALIDATING_ENV_VARS` tell most of them. A name of its own that is
not known here is taken to matter.
"""

import re
from collections.abc import Iterable, Mapping

from aot_build.core.target import Target

CACHE, ROCM = "FLYDSL_RUNTIME_CACHE_DIR", "ROCM_PATH"
COMPILE_ONLY = "COMPILE_ONLY"
ARCH = ("ARCH", "FLYDSL_GPU_ARCH")
"""The first is FlyDSL's own, the second is asked for by kernels."""
SET_BY_US = (CACHE, ROCM, COMPILE_ONLY, *ARCH)
UNSET_ENV = (
    "FLYDSL_AUTOTUNE", "FLYDSL_DEBUG_AST_DIFF", "FLYDSL_DEBUG_DUMP_ASM",
    "FLYDSL_DEBUG_LOG_TO_FILE", "FLYDSL_DEBUG_PRINT_AFTER_ALL", "FLYDSL_DEBUG_PRINT_ORIGIN_IR",
    "FLYDSL_DUMP_IR", "FLYDSL_RUNTIME_ENABLE_CACHE", "FLYDSL_RUNTIME_RUN_ONLY",
    "HSA_OVERRIDE_GFX_VERSION",
)  # fmt: skip
"""What would have it do something else than compile and keep what it compiled."""
ONLY_TELLS = (
    "FLYDSL_AUTOTUNE_CACHE_DIR", "FLYDSL_DEBUG_LOG_LEVEL", "FLYDSL_DEBUG_LOG_TO_CONSOLE",
    "FLYDSL_DEBUG_SHOW_STACKTRACE", "FLYDSL_DUMP_DIR", "FLYDSL_KTRACE_DUMP_DIR",
    "FLYDSL_ROCM_AGENT_TIMEOUT",
)  # fmt: skip
"""Where tuning results and dumps go, and what is said on the way."""
UNKEYED = frozenset({*SET_BY_US, *UNSET_ENV, *ONLY_TELLS})
IN_ITS_KEY = (
    "FLYDSL_COMPILE_BACKEND", "FLYDSL_COMPILE_LLVM_DIR", "FLYDSL_COMPILE_OPT_LEVEL",
    "FLYDSL_DEBUG_ENABLE_DEBUG_INFO", "FLYDSL_EXTRA_SOURCE_DIRS", "FLYDSL_KTRACE_BLOCKS",
    "FLYDSL_KTRACE_BUFFER_BYTES", "FLYDSL_KTRACE_ENABLE",
)  # fmt: skip
"""What names its entries, as the text that it is: a path in it is part of the name."""
OF_TARGET = {"gfx1250": ("LLVM_GFX1250_ANY_XNACK_CODEGEN",)}
"""The same, for one architecture alone."""
DEBUG_INFO = "FLYDSL_DEBUG_ENABLE_DEBUG_INFO"
KNOWN = (
    *IN_ITS_KEY, "FLYDSL_AUTOTUNE_CONFIG_DIR", "FLYDSL_DEBUG_ENABLE_VERIFIER",
    "FLYDSL_DEBUG_MAX_LOC_DEPTH", "FLYDSL_RUNTIME_KIND",
)  # fmt: skip
"""Keyed where they are set; watched where they are not."""
_OWN = re.compile(r"FLYDSL_\w+")
_TRUE = ("1", "true", "yes", "on")


def is_keyed(name: str, target: Target) -> bool:
    """Whether a variable may change what FlyDSL makes for a target, or what it calls that."""
    if name in UNKEYED:
        return False
    return bool(_OWN.fullmatch(name)) or name in OF_TARGET.get(target.arch, ())


def keyed(env: Mapping[str, str], target: Target) -> dict[str, str]:
    """What of an environment may change what FlyDSL makes. Unset and empty are not the same to it.

    Looks names up that are not set as well: whoever notes look-ups sees them coming.
    """
    names = {*KNOWN, *OF_TARGET.get(target.arch, ()), *env}
    return {n: env[n] for n in sorted(names) if is_keyed(n, target) and env.get(n) is not None}


def named(env: Mapping[str, str], target: Target) -> tuple[tuple[str, str], ...]:
    """Names and values of what FlyDSL itself puts into the names of its entries."""
    names = (*IN_ITS_KEY, *OF_TARGET.get(target.arch, ()))
    return tuple((name, env[name]) for name in names if name in env)


def tells_paths(env: Mapping[str, str]) -> bool:
    """Whether machine code is to name the files that it comes from."""
    return env.get(DEBUG_INFO, "").lower() in _TRUE


def counted(looked_up: Iterable[str]) -> tuple[str, ...]:
    """Of the variables that were seen to be looked up, those that may change what it makes."""
    return tuple(name for name in looked_up if name not in UNKEYED)
