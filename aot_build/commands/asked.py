"""What the PEP 517 front end asked for with `-C aot.key=value`, for the commands that run inside.

setuptools hands config settings to no command, so our backend leaves them here for the length of
one hook call.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping

Settings = Mapping[str, str | list[str]]
PREFIX = "aot."

HOOK_CALLER = "_in_process.py"
"""The program of pyproject_hooks, which pip and build run, and of its forerunner pep517."""
HOOK_MARKS = ("_PYPROJECT_HOOKS_BUILD_BACKEND", "PEP517_BUILD_BACKEND")
"""How pyproject_hooks tells that program what to call; the second until version 1.1."""
UV_MARK = "UV_INTERNAL__BUILD_DIR"
"""Set by uv for the processes in which it calls a hook."""

_PARENT = os.getppid()
"""Who started this process: asked as early as may be, since it may be gone a moment later."""
_current: Settings = {}


def config_settings() -> Settings:
    """The `aot.*` settings of the hook call under way; empty outside of one."""
    return _current


@contextlib.contextmanager
def asking(settings: Settings) -> Iterator[None]:
    """Have `config_settings` return `settings` inside."""
    global _current
    before, _current = _current, settings
    try:
        yield
    finally:
        _current = before


def front_end() -> int:
    """Process id of pip, build or uv, where that started this process for one hook call; else 0.

    Such a process works for its parent, and for nobody once that is gone. To import the backend
    is not enough: a script may call it, and be meant to outlive the shell that started it. The
    variables alone are not either, since what a hook starts inherits them.
    """
    if _PARENT <= 1:
        # In a container, or one that was orphaned before it could ask: no number tells.
        return 0
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    if program is not None:
        named = os.path.basename(program) == HOOK_CALLER
        called = named and any(map(os.environ.get, HOOK_MARKS))
    else:
        called = UV_MARK in os.environ and _is_uv_script(sys.orig_argv)
    return _PARENT if called else 0


def _is_uv_script(command: list[str]) -> bool:
    """uv passes the call as text: `import backend as backend ... backend.build_wheel(...)`."""
    return command[1:2] == ["-c"] and any("backend.build_" in word for word in command[2:3])
