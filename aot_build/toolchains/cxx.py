"""Find the C++ compiler, and digest every program and start-up file that it runs or links."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping

from aot_build.core.toolchain import Toolchain
from aot_build.digest import key_digest
from aot_build.errors import EnvironmentProblem

NAMES = ("g++", "clang++", "c++")
PROGRAMS = ("cc1plus", "cc1", "collect2", "lto1", "lto-wrapper", "as", "ld", "objcopy")
LINKED = (
    "crti.o", "crtn.o", "crtbeginS.o", "crtendS.o", "libgcc.a", "libgcc_s.so", "libgcc_s.so.1",
    "libstdc++.so", "libm.so", "libc.so", "libmvec.so", "libpthread.so", "libgomp.so",
    "liblto_plugin.so",
)  # fmt: skip
OPENMP = ("libgomp.spec", "libomp.so", "libomp.dylib")


def find_cxx(env: Mapping[str, str], digest: Callable[[str], str | None]) -> Toolchain:
    """The compiler named by $CXX, else the first of g++, clang++, c++ on PATH.

    `digest` gives a file's content digest. Raises EnvironmentProblem where there is none.
    """
    command, absent = _command(env)
    driver = _real_driver(command, env)
    parts = {name: _ask(driver, f"-print-prog-name={name}", env) for name in PROGRAMS}
    parts |= {name: _ask(driver, f"-print-file-name={name}", env) for name in LINKED}
    openmp = {name: _ask(driver, f"-print-file-name={name}", env) for name in OPENMP}
    parts |= openmp
    version = _ask(driver, "-dumpfullversion", env) or _ask(driver, "-dumpversion", env) or ""
    machine = _ask(driver, "-dumpmachine", env) or ""
    named = {"driver": driver, "command": command[0]} | {
        name: found for name, path in parts.items() if (found := _existing(path, env))
    }
    content = {name: digest(os.path.realpath(path)) for name, path in named.items()}
    return Toolchain(
        name=os.path.basename(driver),
        version=version,
        digest=key_digest(("cxx", version, machine, content, command[1:])),
        command=command,
        features=("openmp",) if any(_existing(p, env) for p in openmp.values()) else (),
        files=tuple(sorted({os.path.realpath(path) for path in named.values()})),
        absent=absent,
    )


def _command(env: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words that call the compiler, and the paths that would have come first."""
    search = env.get("PATH", os.defpath)
    named = shlex.split(env.get("CXX", ""))
    for words in [named] if named else [[name] for name in NAMES]:
        found = shutil.which(words[0], path=search)
        if found:
            # Actions run in folders of their own: a relative PATH entry must not be taken along.
            found = os.path.abspath(found)
            earlier = NAMES[: NAMES.index(words[0])] if not named else ()
            return (found, *words[1:]), _passed_over(found, words[0], earlier, search)
    raise EnvironmentProblem(
        "no C++ compiler found",
        {"searched": f"$CXX={env['CXX']}" if named else f"$CXX, PATH for {', '.join(NAMES)}",
         "PATH": search},
        "apt-get install g++, or set CXX, or build without kernels: AOT_BUILD_TARGETS=none",
    )  # fmt: skip


def _passed_over(found: str, name: str, earlier: tuple[str, ...], search: str) -> tuple[str, ...]:
    folders = [folder for folder in search.split(os.pathsep) if folder]
    absent = [os.path.join(folder, other) for other in earlier for folder in folders]
    for folder in folders:
        candidate = os.path.join(folder, name)
        if candidate == found:
            break
        absent.append(candidate)
    return tuple(path for path in absent if os.path.isabs(path) and not os.path.lexists(path))


def _real_driver(command: tuple[str, ...], env: Mapping[str, str]) -> str:
    """The compiler itself where $CXX names a launcher such as `ccache g++`."""
    for word in command[1:]:
        if not word.startswith("-") and (found := shutil.which(word, path=env.get("PATH"))):
            return found
    return command[0]


def _ask(driver: str, question: str, env: Mapping[str, str]) -> str | None:
    try:
        answer = subprocess.run(
            [driver, question], env=dict(env), capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentProblem(
            f"the C++ compiler {driver} does not run", {"error": error}, "check CXX"
        ) from error
    return answer.stdout.strip() if answer.returncode == 0 else None


def _existing(path: str | None, env: Mapping[str, str]) -> str | None:
    """A bare name in an answer means that the compiler looks it up on PATH, or has none."""
    if not path:
        return None
    if os.sep in path:
        return path if os.path.exists(path) else None
    return shutil.which(path, path=env.get("PATH"))
