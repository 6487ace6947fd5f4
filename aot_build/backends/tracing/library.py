"""Compile the library of tracer.c, once for each compiler, and find out whether it works here."""

import functools
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aot_build.backends.tracing import records
from aot_build.digest import file_digest, key_digest
from aot_build.files import write_atomic

LOG_VARIABLE = "AOT_TRACE_LOG"
PRELOAD_VARIABLE = "LD_PRELOAD"
COMPILERS = ("cc", "gcc", "clang")
FLAGS = (
    "-std=gnu11", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-ftls-model=initial-exec",
    # The loader searches by the RUNPATH of whoever called it: dlopen is handed on by a jump.
    "-foptimize-sibling-calls",
)  # fmt: skip
_TIMEOUT = 120.0
_WORKS = "works"
_REFUSED_SECONDS = 86400.0
"""How long a compiler that failed, or a library that did not work, is not tried again."""
_LITTLE_ROOM = 16 << 20
"""Bytes on the disk for temporary files: with fewer, a failure is not kept."""
_UNLISTABLE = " :;$\n"
"""LD_PRELOAD is a list, in which the loader puts values for names after a dollar sign."""
# A program that opens and misses a file, then one without any environment that does, then another.
_TRIAL = """
import os, sys
folder = sys.argv[1]
open(folder + "/one").close()
os.path.exists(folder + "/none")
script = 'read line < "$0/two"; test -e "$0/no"; exec cat "$0/three"'
os.execve("/bin/sh", ["sh", "-c", script, folder], {})
"""
_SEEN = [("r", "one"), ("a", "none"), ("r", "two"), ("a", "no"), ("r", "three")]


@dataclass(frozen=True)
class Library:
    """The library, or why there is none."""

    path: str
    """Empty where there is none."""
    reason: str = ""

    def __bool__(self) -> bool:
        return bool(self.path)


def build(
    folder: Path,
    env: Mapping[str, str],
    command: Sequence[str] = (),
    scratch: Path | None = None,
) -> Library:
    """The library in a folder, compiled and tried where that was not done before.

    The compiler is the first of $CC, cc, gcc, clang on PATH, else `command`, which may be a C++
    compiler. Temporary files go to `scratch`, else to the system's folder for them: a killed
    process leaves some. Never raises for what is missing or does not work: the reason says what.
    """
    if not sys.platform.startswith("linux"):
        return Library("", f"there is no LD_PRELOAD of this kind on {sys.platform}")
    compiler = c_compiler(env) or tuple(command)
    if not compiler:
        return Library("", f"no C compiler: none of $CC, {', '.join(COMPILERS)} is on PATH")
    try:
        return _built(folder.absolute(), env, compiler, scratch)
    except OSError as error:
        return Library("", f"the tracer cannot be built: {error}")


def preloaded(env: Mapping[str, str], library: Library) -> dict[str, str]:
    """The environment with the library first among those that are preloaded."""
    if not library:
        return dict(env)
    listed = env.get(PRELOAD_VARIABLE, "").replace(":", " ").split()
    others = [path for path in listed if path != library.path]
    return {**env, PRELOAD_VARIABLE: ":".join([library.path, *others])}


def c_compiler(env: Mapping[str, str]) -> tuple[str, ...]:
    """The first of $CC, cc, gcc, clang on PATH, with its words; nothing where there is none."""
    search = env.get("PATH", os.defpath)
    for words in (shlex.split(env.get("CC", "")), *([name] for name in COMPILERS)):
        if words and (found := shutil.which(words[0], path=search)):
            return (os.path.abspath(found), *words[1:])
    return ()


def _built(
    folder: Path, env: Mapping[str, str], compiler: tuple[str, ...], scratch: Path | None
) -> Library:
    path = folder / f"tracer-{_name(compiler)}.so"
    verdict = path.with_suffix(".txt")
    kept = _kept(path, verdict)
    if kept is None:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch) as room:
            env = {**env, "TMPDIR": room}
            kept = _compile(path, env, compiler, room) or _try(path, env, room)
            found = os.statvfs(room)
        if kept and found.f_bavail * found.f_frsize < _LITTLE_ROOM:
            # It says nothing about the compiler: with more room it may be another one.
            return Library("", kept)
        write_atomic(verdict, (kept or _works(path)).encode())
    return Library("", kept) if kept else Library(_listable(path))


@functools.cache
def _listable(path: Path) -> str:
    """A name of the file that LD_PRELOAD can hold, for as long as this process lives."""
    if not set(_UNLISTABLE) & set(str(path)):
        return str(path)
    return f"/proc/{os.getpid()}/fd/{os.open(path, os.O_RDONLY | os.O_CLOEXEC)}"


def _name(compiler: tuple[str, ...]) -> str:
    """What the library is made of and for; a compiler is as good as its stat here."""
    found = os.stat(compiler[0])
    of_compiler = (compiler, os.path.realpath(compiler[0]), found.st_size, found.st_mtime_ns)
    of_machine = (platform.machine(), *platform.libc_ver(), sys.executable)
    return key_digest((_sources(), FLAGS, of_compiler, of_machine))


@functools.cache
def _sources() -> tuple[tuple[str, bytes], ...]:
    here = Path(__file__).parent
    paths = [here / "tracer.c", *sorted((here / "tracer").glob("*.h"))]
    return tuple((path.name, path.read_bytes()) for path in paths)


def _works(path: Path) -> str:
    """What is kept of a library that works. One that was damaged since, as by a power cut, would
    end every worker that loads it, or be passed over without a word. Raises OSError."""
    return f"{_WORKS} {file_digest(str(path))}"


def _kept(path: Path, verdict: Path) -> str | None:
    """What was found earlier: empty where it works, None where that is to be found out."""
    try:
        said = verdict.read_text()
        if said.startswith(_WORKS):
            return "" if said == _works(path) else None
        return said if time.time() - verdict.stat().st_mtime < _REFUSED_SECONDS else None
    except OSError:
        return None


def _compile(path: Path, env: Mapping[str, str], compiler: tuple[str, ...], room: str) -> str:
    """Why it cannot be compiled, or nothing. Others may be doing the same at the same time."""
    source, made = Path(__file__).with_name("tracer.c"), Path(room, path.name)
    # A C++ compiler would link its own library, which every program would then load.
    words = [*compiler, *FLAGS, "-x", "c", str(source), "-x", "none", "-Wl,--as-needed", "-ldl"]
    answer = _call([*words, "-o", str(made)], env)
    if isinstance(answer, str):
        return f"{compiler[0]} does not run: {answer}"
    if answer.returncode:
        return f"{compiler[0]} fails: {answer.stderr.strip()[-500:]}"
    write_atomic(path, made.read_bytes())
    return ""


def _try(path: Path, env: Mapping[str, str], room: str) -> str:
    """Why it does not work, or nothing."""
    with tempfile.TemporaryDirectory(dir=room) as folder:
        for name in ("one", "two", "three"):
            Path(folder, name).write_text("line\n")
        log = os.path.join(folder, "log")
        records.create(log)
        traced = {**preloaded(env, Library(_listable(path))), LOG_VARIABLE: log}
        answer = _call([sys.executable, "-I", "-S", "-c", _TRIAL, folder], traced)
        if isinstance(answer, str):
            return f"no program runs with the tracer: {answer}"
        if answer.returncode or answer.stderr:
            return f"a program fails with the tracer: {answer.stderr.strip()[-500:]}"
        found = records.read(log)
        here = [(kind, os.path.basename(p)) for kind, p in found.records if folder in p]
        missing = [name for kind, name in _SEEN if (kind, name) not in here]
        if missing or not found.whole:
            return f"the tracer does not see what programs do: {found.reason or missing}"
    return ""


def _call(command: list[str], env: Mapping[str, str]) -> "subprocess.CompletedProcess[str] | str":
    """What came of it, or why it could not be run."""
    try:
        return subprocess.run(
            command, env=dict(env), capture_output=True, text=True, errors="replace",
            timeout=_TIMEOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
