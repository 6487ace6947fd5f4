"""Questions to a compiler driver, gcc's or clang's: what it runs, and what it makes of words."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aot_build.core.compiler_env import LOADER_PATH, NEEDS_LOADER_PATH, compiler_env
from aot_build.errors import EnvironmentProblem

PROGRAMS = ("cc1plus", "cc1", "collect2", "lto1", "lto-wrapper", "as", "ld", "objcopy")
LINKED = (
    "crti.o", "crtn.o", "crtbeginS.o", "crtendS.o", "libgcc.a", "libgcc_s.so", "libgcc_s.so.1",
    "libstdc++.so", "libm.so", "libc.so", "libmvec.so", "libpthread.so", "libgomp.so",
    "liblto_plugin.so",
)  # fmt: skip
LOADING = ("driver", "cc1plus", "as", "ld")
"""Programs whose shared libraries are asked for; the others load no others."""
PREPROCESS = ("-E", "-v", "-x", "c++", os.devnull)
"""Has gcc and clang show the command that they run, and run next to nothing."""
CHOOSES_LINKER = ("-fuse-ld=", "--ld-path=")


@dataclass(frozen=True)
class Driver:
    """A compiler driver, the words that it is always called with, and its environment."""

    path: str
    words: tuple[str, ...]
    env: Mapping[str, str]

    def ask(self, question: str) -> str | None:
        """What it answers; None where it has no answer."""
        answer = self._run(question, *self.words)
        return answer.stdout.strip() if answer.returncode == 0 else None

    def program(self, name: str) -> str | None:
        """The path of a program that it runs."""
        return self.existing(self.ask(f"-print-prog-name={name}"))

    def file(self, name: str) -> str | None:
        """The path of a file that it links."""
        return self.existing(self.ask(f"-print-file-name={name}"))

    def parts(self) -> dict[str, str]:
        """Every program that it runs and start-up file that it links, by name."""
        named: dict[str, str | None] = {name: self.program(name) for name in PROGRAMS}
        named |= {name: self.file(name) for name in LINKED}
        for word in self.words:
            kind, _, name = word.partition("=")
            if f"{kind}=" in CHOOSES_LINKER:
                named["linker"] = self.existing(name) or self.program(f"ld.{name}")
        return {name: path for name, path in named.items() if path}

    def existing(self, path: str | None) -> str | None:
        """A bare name in an answer means that the compiler looks it up on PATH, or has none."""
        if not path:
            return None
        if os.sep in path:
            return path if os.path.exists(path) else None
        return shutil.which(path, path=self.env.get("PATH"))

    def shown(self, *words: str) -> str:
        """What it says of itself and of the command that it runs, with further words."""
        return self._run(*self.words, *words, *PREPROCESS).stderr

    def expanded(self, *words: str) -> str:
        """The words that the compiler proper gets, without paths: those of this host for
        `-march=native`."""
        found = _command_shown(self.shown(*words))
        return shlex.join(word for word in found[1:] if os.sep not in word)

    def behind(self) -> str | None:
        """The driver itself, where this one is a script that calls it."""
        said = self.shown()
        if collect := re.search(r"^COLLECT_GCC=(.*)$", said, re.MULTILINE):
            return self.existing(collect[1])
        words = _command_shown(said)
        return self.existing(words[0]) if words else None

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run((self.path, *words), self.env, "C++ compiler", "check CXX")


def asking(env: Mapping[str, str], features: tuple[str, ...] = ()) -> dict[str, str]:
    """The environment in which compilers are asked: that in which they will compile."""
    return compiler_env(env, tempfile.gettempdir(), features)


def run(
    words: tuple[str, ...], env: Mapping[str, str], what: str, hint: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program that is asked something, whatever its status. Raises EnvironmentProblem where
    it does not run, or takes a minute."""
    try:
        return subprocess.run(
            words, env=dict(env), capture_output=True, text=True, timeout=60, errors="replace",
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentProblem(
            f"the {what} {words[0]} does not run", {"error": error}, hint
        ) from error


def loaded(programs: Iterable[str], env: Mapping[str, str]) -> dict[str, str | None]:
    """Shared libraries that programs load, by name; None for those that are not found.

    The loader itself is asked (ld.so(8), LD_TRACE_LOADED_OBJECTS): the programs do not run.
    """
    found: dict[str, str | None] = {}
    for program in dict.fromkeys(map(os.path.realpath, programs)):
        if sys.platform == "linux" and _needs_glibc(program):
            said = run((program,), {**env, "LD_TRACE_LOADED_OBJECTS": "1"}, "program").stdout
            for name, path in re.findall(r"^\s*(\S+) => (.+?)(?: \(0x\w+\))?$", said, re.MULTILINE):
                found[os.path.basename(name)] = path if os.path.isabs(path) else None
    return found


def libraries(
    programs: Iterable[str], env: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Shared libraries that programs load, and what that says of them: `NEEDS_LOADER_PATH`.

    `env` is the whole environment of the build.
    """
    programs = tuple(programs)
    found = loaded(programs, asking(env))
    features: tuple[str, ...] = ()
    if None in found.values() and env.get(LOADER_PATH):
        features = (NEEDS_LOADER_PATH,)
        found = loaded(programs, asking(env, features))
    return {name: path for name, path in found.items() if path}, features


def is_script(path: str) -> bool:
    """Whether a program is a text for an interpreter."""
    try:
        with open(path, "rb") as stream:
            return stream.read(2) == b"#!"
    except OSError:
        return False


def _needs_glibc(program: str) -> bool:
    """Whether glibc's loader starts it: musl's does not answer, it would run."""
    try:
        with open(program, "rb") as stream:
            head = stream.read(1 << 12)
    except OSError:
        return False
    return head.startswith(b"\x7fELF") and bool(
        re.search(rb"/ld-(?:linux[\w.-]*|64\.so[\d.]*)\.?", head)
    )


def _command_shown(said: str) -> list[str]:
    """The call of the compiler proper among what a driver shows."""
    for line in said.splitlines():
        if line.startswith(" ") and re.search(r"cc1plus\b|\s\"?-cc1\"?\s", line):
            return shlex.split(line)
    return []
