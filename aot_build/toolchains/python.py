"""The interpreter as a toolchain: what Python actions run on."""

import platform
import sys

from aot_build.core.toolchain import Toolchain
from aot_build.digest import key_digest


def find_python() -> Toolchain:
    """This interpreter; `sys.version` names its compiler and the day it was built."""
    version = platform.python_version()
    parts = (sys.implementation.name, sys.version, sys.implementation.cache_tag, platform.machine())
    return Toolchain(
        name=sys.implementation.name,
        version=version,
        digest=key_digest(("python", *parts, sys.flags.optimize)),
        command=(sys.executable,),
        files=(sys.executable,),
    )
