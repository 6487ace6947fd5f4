"""How a compiler is called: in the scratch folder, with an environment that the key holds."""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from aot_build.core.action import Action
from aot_build.core.compiler_env import ASKED, FIXED, PATH, obeyed
from aot_build.core.configuration import Configuration
from aot_build.core.ending import ERROR, MEMORY, ProgramDied, end_of_program, signal_name
from aot_build.core.roles import Roles
from aot_build.core.work import WorkOrder

QUIET_REDEFINITION = "-Wno-builtin-macro-redefined"
TIMESTAMP = '-D__TIMESTAMP__="Tue Jan  1 00:00:00 1980"'
"""Else it is the time of the source, which a touch changes and nothing else counts."""
HELD_BYTES = 1 << 18
"""Of what a program says, this much of the start and at least as much of the end."""
PIECE_BYTES = 1 << 16


def keyed_env(
    declared: tuple[tuple[str, str], ...], configuration: Configuration
) -> tuple[tuple[str, str], ...]:
    """What a kernel declares, over what its compilers obey of the environment; paths by role."""
    encode, features = configuration.roles.encode_text, configuration.toolchain.features
    around = obeyed(configuration.env, features)
    by_role = {name: encode(value) for name, value in around.items()}
    return tuple(sorted((by_role | dict(declared)).items()))


def command_env(action: Action, roles: Roles, order: WorkOrder) -> dict[str, str]:
    """The whole environment of an action's commands."""
    passed = {name: os.environ[name] for name in (PATH, *ASKED) if os.environ.get(name)}
    places = {"{out_dir}": order.out_dir, "{target}": action.target}
    keyed = {name: roles.expand(value) for name, value in action.env}
    for place, path in places.items():
        keyed = {name: value.replace(place, path) for name, value in keyed.items()}
    return FIXED | passed | {"HOME": order.scratch, "TMPDIR": order.scratch} | keyed


def run(
    command: list[str], env: Mapping[str, str], cwd: Path, shown: Callable[[str], str] = str
) -> str | None:
    """Run a command, its output into this worker's log; what it said on failure.

    `shown` turns what the command says into what the user reads. Raises ProgramDied where it did
    not end by itself, or for lack of memory.
    """
    print("+", *command, flush=True)
    with subprocess.Popen(
        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as program:  # fmt: skip
        assert program.stdout is not None
        plain = _read(program.stdout)
    said = shown(plain)
    print(said, end="", flush=True)
    if program.returncode == 0:
        return None
    end = end_of_program(program.returncode, plain)
    if end == ERROR:
        return said.strip() or f"{command[0]} exited with status {program.returncode}"
    raise ProgramDied(end, f"{command[0]} {_how(program.returncode, end)}\n{said}".strip())


def _read(stream: IO[bytes]) -> str:
    """All that a program says; of very much, the start and the end: it has to be held."""
    start, end, left_out = bytearray(), bytearray(), 0
    while piece := stream.read(PIECE_BYTES):
        room = HELD_BYTES - len(start)
        start += piece[:room]
        end += piece[room:]
        if len(end) > 2 * HELD_BYTES:
            left_out += len(end) - HELD_BYTES
            del end[:-HELD_BYTES]
    if left_out:
        start += b"\n[aot_build: %d bytes are left out here]\n" % left_out
    return (start + end).decode("utf-8", "replace")


def _how(status: int, end: str) -> str:
    if end == MEMORY:
        return "ran out of memory"
    if status >= 0:
        return f"failed with status {status}, as a program that it called was ended"
    return f"was ended by {signal_name(-status)}"
