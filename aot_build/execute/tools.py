"""The environment of build tools that share one pot of CPU tokens.

ninja from 1.13, make from 4.4, cargo, and nvcc with `--jobserver` find the pot in MAKEFLAGS. Older
ones of the first two get a stand-in (shim.py) first on PATH. Standard library alone.
"""

import contextlib
import functools
import os
import re
import secrets
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

FOLDER = "tools"
"""Of the stand-ins, in a build's folder: what has found one there finds it in the next build."""
AUTH = re.compile(r"--jobserver-(?:auth|fds)=(\S+)")
_FIRST_WITH_FIFO = {"make": (4, 4), "gmake": (4, 4), "ninja": (1, 13)}
_REPLACED = ("MFLAGS", "CARGO_MAKEFLAGS", "MAX_JOBS")
"""They would be read before MAKEFLAGS, or say how many jobs regardless of the pot: torch passes
MAX_JOBS to ninja as `-j`."""
_LETTERS = "[bBdeikLnpqrRsStw]"
"""Options of make that take no argument, and so come in one word with others."""
_ANSWER_SECONDS = 10


def equipped(
    environ: Mapping[str, str], pot: str, folder: str | os.PathLike[str]
) -> dict[str, str]:
    """An environment whose build tools take their tokens from the pot at this path.

    `folder` is the build's own; it is written to where a stand-in is needed.
    """
    found = {name: value for name, value in environ.items() if name not in _REPLACED}
    found["MAKEFLAGS"] = makeflags(pot, environ.get("MAKEFLAGS", ""))
    old = too_old(environ.get("PATH", os.defpath), Path(folder) / FOLDER)
    if old:
        before = _stand_ins(old, Path(folder) / FOLDER)
        found["PATH"] = os.pathsep.join([before, environ.get("PATH", os.defpath)])
    return found


def for_workers(
    environ: Mapping[str, str], pot: str, folder: str | os.PathLike[str]
) -> dict[str, str]:
    """The environment of workers: a tool that one of them runs has the worker's token, and takes
    others from the pot. As it was where they could not reach that."""
    return equipped(environ, pot, folder) if reachable(pot) else dict(environ)


def reachable(pot: str) -> bool:
    """Whether other processes can open the pot: proc(5) may be closed to them."""
    words = ["sh", "-c", ': <>"$0"', pot]
    try:
        done = subprocess.run(words, stderr=subprocess.DEVNULL, timeout=_ANSWER_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def makeflags(pot: str, given: str = "") -> str:
    """MAKEFLAGS with this pot, and what was given of other things.

    The first word holds single letters, and is empty where there are none.
    """
    flags, separator, variables = f" {given} ".partition(" -- ")
    kept = [word for word in _without_jobs(flags.split()) if not AUTH.fullmatch(word)]
    letters = kept.pop(0) if kept and kept[0][0] != "-" and "=" not in kept[0] else ""
    words = [letters, *kept, "-j", f"--jobserver-auth=fifo:{pot}"]
    return " ".join(words) + (separator + variables).rstrip()


def _without_jobs(words: list[str]) -> Iterator[str]:
    """Leave out `-j`, `-j8`, `-j 8`, `--jobs=8`, and the `j8` of letters such as `-kj8`."""
    number = False
    for place, word in enumerate(words):
        if number and word.isdigit():
            number = False
            continue
        number = bool(re.fullmatch(r"-\w*j|--jobs", word))
        bundled = re.fullmatch(rf"(-?)({_LETTERS}*)j\d*({_LETTERS}*)", word)
        if bundled and (bundled[1] or place == 0):
            if letters := bundled[2] + bundled[3]:
                yield bundled[1] + letters
        elif not re.fullmatch(r"--jobs(=\d*)?", word):
            yield word


def outer_pot(environ: Mapping[str, str]) -> str:
    """Path of a pot that this process was given by whoever started it; else nothing.

    Of two descriptors it takes the ends of one pipe: numbers alone may be anybody's by now.
    """
    found = AUTH.findall(environ.get("MAKEFLAGS", ""))
    if not found:
        return ""
    with contextlib.suppress(OSError, ValueError):
        if found[-1].startswith("fifo:"):
            path = found[-1].removeprefix("fifo:")
            return path if stat.S_ISFIFO(os.stat(path).st_mode) else ""
        reading, writing = map(int, found[-1].split(","))
        ends = os.fstat(reading), os.fstat(writing)
        if stat.S_ISFIFO(ends[0].st_mode) and os.path.samestat(*ends):
            return f"/proc/{os.getpid()}/fd/{reading}"
    return ""


def too_old(path: str, stand_ins: Path) -> list[str]:
    """Names of the tools on PATH that do not know the fifo form."""
    folders = [each for each in path.split(os.pathsep) if each != str(stand_ins)]
    found = {name: shutil.which(name, path=os.pathsep.join(folders)) for name in _FIRST_WITH_FIFO}
    return [
        name
        for name, tool in found.items()
        if tool and (0,) < _version(os.path.realpath(tool)) < _FIRST_WITH_FIFO[name]
    ]


@functools.cache
def _version(tool: str) -> tuple[int, ...]:
    """Of GNU make or ninja; (0,) where it does not say, or is another make."""
    try:
        done = subprocess.run(
            [tool, "--version"], capture_output=True, text=True, timeout=_ANSWER_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return (0,)
    number = re.match(r"(?:GNU Make )?(\d+)\.(\d+)", done.stdout)
    return (int(number[1]), int(number[2])) if number else (0,)


def _stand_ins(names: list[str], folder: Path) -> str:
    """Put the stand-ins into the folder; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    # Through sh: a path after `#!` may be neither long nor hold a blank.
    # The interpreter itself, not that of an isolated environment that is gone tomorrow.
    python = shlex.quote(os.path.realpath(sys.executable))
    start = f"""#!/bin/sh\n'''exec' {python} -IS "$0" "$@"\n'''\n"""
    text = start + Path(__file__).with_name("shim.py").read_text("utf-8")
    for name in names:
        file = folder / name
        if not file.is_file() or file.read_text("utf-8") != text:
            young = folder / f".{name}.{secrets.token_hex(4)}"
            young.write_text(text, "utf-8")
            young.chmod(0o755)
            young.replace(file)
    return str(folder)
