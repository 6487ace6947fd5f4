"""How a compiler is called: in the scratch folder, with an environment that the key holds."""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from aot_build.core.action import Action
from aot_build.core.roles import Roles
from aot_build.core.work import WorkOrder

KEYED_ENV = (
    "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "LIBRARY_PATH",
    "GCC_EXEC_PREFIX", "COMPILER_PATH", "GCC_COMPARE_DEBUG", "SYSROOT", "MACOSX_DEPLOYMENT_TARGET",
    "DEVELOPER_DIR", "SDKROOT",
)  # fmt: skip
"""What gcc and clang obey; nothing else of the environment reaches them but the names below."""
PASSED_ENV = ("PATH", "HOME", "LD_LIBRARY_PATH", "SYSTEMROOT")
"""Where programs and their libraries are found: the toolchain digest holds their content."""
FIXED_ENV = {"LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": "315532800"}
"""`__DATE__` is the same in every build (1 January 1980)."""


def keyed_env(
    declared: tuple[tuple[str, str], ...], env: Mapping[str, str], roles: Roles
) -> tuple[tuple[str, str], ...]:
    """What a kernel declares, over what its compilers obey of the environment; paths by role."""
    obeyed = {name: roles.encode_text(env[name]) for name in KEYED_ENV if env.get(name)}
    return tuple(sorted((obeyed | dict(declared)).items()))


def command_env(action: Action, roles: Roles, order: WorkOrder) -> dict[str, str]:
    """The whole environment of an action's commands."""
    passed = {name: os.environ[name] for name in PASSED_ENV if name in os.environ}
    places = {"{out_dir}": order.out_dir, "{target}": action.target}
    keyed = {name: roles.expand(value) for name, value in action.env}
    for place, path in places.items():
        keyed = {name: value.replace(place, path) for name, value in keyed.items()}
    return passed | FIXED_ENV | {"TMPDIR": order.scratch} | keyed


def run(
    command: list[str], env: Mapping[str, str], cwd: Path, shown: Callable[[str], str] = str
) -> str | None:
    """Run a command, its output into this worker's log; the first lines of it on failure.

    `shown` turns what the command says into what the user reads.
    """
    print("+", *command, flush=True)
    ended = subprocess.run(
        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    said = shown(ended.stdout)
    print(said, end="", flush=True)
    if ended.returncode == 0:
        return None
    if ended.returncode < 0:
        return f"{command[0]} was killed by signal {-ended.returncode}\n{said}"
    return said.strip() or f"{command[0]} exited with status {ended.returncode}"
