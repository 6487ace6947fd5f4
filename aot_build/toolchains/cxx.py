"""Find the C++ compiler, and digest every program and start-up file that it runs or links."""

import glob
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping

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
SHARED = ("libLLVM*.so*", "libclang-cpp.so*", "libLLVM*.dylib", "libclang-cpp*.dylib")
"""What most of a clang is made of where it is not linked statically."""
OPENMP = ("libgomp.spec", "libomp.so", "libomp.dylib")


def find_cxx(env: Mapping[str, str], digest: Callable[[str], str | None]) -> Toolchain:
    """The compiler named by $CXX, else the first of g++, clang++, c++ on PATH.

    `digest` gives a file's content digest. Raises EnvironmentProblem where there is none.
    """
    command, absent = _command(env)
    driver = real_driver(command, env)
    parts = {name: _ask(driver, f"-print-prog-name={name}", env) for name in PROGRAMS}
    parts |= {name: _ask(driver, f"-print-file-name={name}", env) for name in LINKED}
    openmp = {name: _ask(driver, f"-print-file-name={name}", env) for name in OPENMP}
    parts |= openmp
    version = _ask(driver, "-dumpfullversion", env) or _ask(driver, "-dumpversion", env) or ""
    machine = _ask(driver, "-dumpmachine", env) or ""
    named = {"driver": driver, "command": command[0]} | {
        name: found for name, path in parts.items() if (found := _existing(path, env))
    }
    named |= _shared(driver)
    content = {name: digest(os.path.realpath(path)) for name, path in named.items()}
    return Toolchain(
        name=os.path.basename(driver),
        version=version,
        digest=key_digest(("cxx", version, machine, content, command[1:])),
        command=command,
        features=tuple(_features(openmp.values(), named.get("ld"), env)),
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


def real_driver(command: tuple[str, ...], env: Mapping[str, str]) -> str:
    """The compiler itself where $CXX names a launcher such as `ccache g++`."""
    for word in command[1:]:
        if not word.startswith("-") and (found := shutil.which(word, path=env.get("PATH"))):
            return found
    return command[0]


def _shared(driver: str) -> dict[str, str]:
    """The libraries that a clang runs on, by name; they lie where its own folder says."""
    real = os.path.realpath(driver)
    if "clang" not in os.path.basename(real):
        return {}
    folder = os.path.join(os.path.dirname(real), os.pardir)
    return {
        os.path.basename(path): path
        for pattern in SHARED
        for path in glob.glob(os.path.join(glob.escape(folder), "lib*", pattern))
        if os.path.isfile(path)
    }


def _features(
    openmp: Iterable[str | None], linker: str | None, env: Mapping[str, str]
) -> Iterator[str]:
    if any(_existing(path, env) for path in openmp):
        yield "openmp"
    if linker and _writes_depfiles(linker, env):
        yield "link-depfile"


def _writes_depfiles(linker: str, env: Mapping[str, str]) -> bool:
    """Whether it tells what it reads: GNU ld from 2.35, LLD from 13."""
    try:
        answer = subprocess.run(
            [linker, "--help"], env=dict(env), capture_output=True, text=True, timeout=60,
            errors="replace", stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and "--dependency-file" in answer.stdout


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
