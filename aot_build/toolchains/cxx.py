"""Find the C++ compiler, and digest every program and start-up file that it runs or links."""

import functools
import glob
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping

from aot_build.core.toolchain import Brings, Toolchain
from aot_build.digest import key_digest
from aot_build.errors import EnvironmentProblem
from aot_build.toolchains.driver import (
    LOADING,
    PROGRAMS,
    Driver,
    asking,
    is_script,
    libraries,
    run,
)

Digest = Callable[[str], str | None]

NAMES = ("g++", "clang++", "c++")
CACHES = ("ccache", "sccache", "buildcache", "cachepot")
"""Launchers that may answer without the compiler: what that would have read, nobody would see. This
build has a cache of its own."""
SHARED = ("libLLVM*.so*", "libclang-cpp.so*", "libLLVM*.dylib", "libclang-cpp*.dylib")
"""What most of a clang is made of where it is not linked statically."""
OPENMP = ("libgomp.spec", "libomp.so", "libomp.dylib")
NATIVE = re.compile(r"(?:-m|--machine[-=])(?:arch|tune|cpu)=native")


def find_cxx(env: Mapping[str, str], digest: Digest) -> Toolchain:
    """The compiler named by $CXX, else the first of g++, clang++, c++ on PATH.

    `digest` gives a file's content digest. Raises EnvironmentProblem where there is none.
    """
    command, absent = _command(env)
    path, words = real_driver(command, env)
    driver = Driver(path, words, asking(env))
    openmp = {name: place for name in OPENMP if (place := driver.file(name))}
    parts = driver.parts() | openmp | _shared(path) | {"driver": path, "command": command[0]}
    # What a script adds to a command line is its own to say, `-march=native` among it.
    called = driver.expanded() if is_script(path) else ""
    if is_script(path) and (behind := driver.behind()):
        parts["behind"] = behind
    loading = (parts[name] for name in (*LOADING, "behind") if name in parts)
    found, needs = libraries(loading, env)
    parts = found | parts
    if needs:
        driver = Driver(path, words, asking(env, needs))
    version = driver.ask("-dumpfullversion") or driver.ask("-dumpversion") or ""
    machine = driver.ask("-dumpmachine") or ""
    rows = content_of(parts, digest)
    content = {name: taken for name, _, taken in rows}
    return Toolchain(
        name=os.path.basename(path),
        version=version,
        digest=key_digest(("cxx", version, machine, content, command[1:], called)),
        command=command,
        features=(*_features(openmp, parts.get("ld"), driver.env), *needs),
        files=tuple(sorted({os.path.realpath(path) for path in parts.values()})),
        absent=(*absent, *_earlier(parts, env)),
        parts=rows,
        brings=_bringing(driver, digest),
    )


def content_of(parts: Mapping[str, str], digest: Digest) -> tuple[tuple[str, str, str], ...]:
    """Name, path and digest of the content of each file."""
    return tuple(
        (
            name,
            os.path.realpath(path) if os.pardir in path else path,
            digest(os.path.realpath(path)) or "",
        )
        for name, path in sorted(parts.items())
    )


def _bringing(driver: Driver, digest: Digest) -> Brings:
    """What further words, and variables of a kernel, bring into play with this driver."""

    @functools.cache
    def ask(words: tuple[str, ...], more: tuple[tuple[str, str], ...]) -> dict[str, str]:
        words = tuple(word for word in words if word not in driver.words)
        asked = Driver(driver.path, (*driver.words, *words), {**driver.env, **dict(more)})
        found = {}
        if any(map(NATIVE.fullmatch, asked.words)):
            found["host"] = asked.expanded()
        if more or any(not NATIVE.fullmatch(word) for word in words):
            rows = content_of(asked.parts(), digest)
            found["programs"] = key_digest([(name, taken) for name, _, taken in rows])
        return found

    def brings(words: tuple[str, ...], env: Mapping[str, str]) -> dict[str, str]:
        return ask(words, tuple(sorted(env.items())))

    return brings


def _command(env: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words that call the compiler, and the paths that would have come first."""
    search = env.get("PATH", os.defpath)
    named = _without_cache(shlex.split(env.get("CXX", "")))
    for words in [named] if named else [[name] for name in NAMES]:
        found = _which(words[0], search)
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


def _without_cache(words: list[str]) -> list[str]:
    """The command behind `ccache` and its settings, where there is one."""
    if not words or os.path.basename(words[0]) not in CACHES:
        return words
    rest = iter(words[1:])
    behind = [next((word for word in rest if "=" not in word), ""), *rest]
    return behind if behind[0] else words


def _which(name: str, search: str) -> str | None:
    """The first program of that name that is no cache in the compiler's clothes."""
    if os.sep in name:
        return shutil.which(name, path=search)
    found = (shutil.which(name, path=folder) for folder in search.split(os.pathsep) if folder)
    return next((p for p in found if p and not _is_cache(p)), None)


def _is_cache(path: str) -> bool:
    real = os.path.basename(os.path.realpath(path))
    return real in CACHES and os.path.basename(path) != real


def _passed_over(found: str, name: str, earlier: tuple[str, ...], search: str) -> tuple[str, ...]:
    folders = [folder for folder in search.split(os.pathsep) if folder]
    absent = [os.path.join(folder, other) for other in earlier for folder in folders]
    for folder in folders:
        candidate = os.path.join(folder, name)
        if candidate == found:
            break
        absent.append(candidate)
    return tuple(path for path in absent if os.path.isabs(path) and not os.path.lexists(path))


def _earlier(parts: Mapping[str, str], env: Mapping[str, str]) -> Iterator[str]:
    """Where programs that are looked up on PATH would have come first."""
    search = env.get("PATH", os.defpath)
    folders = search.split(os.pathsep)
    for name in PROGRAMS:
        folder, file = os.path.split(parts.get(name, ""))
        if folder in folders:
            yield from _passed_over(parts[name], file, (), search)


def real_driver(command: tuple[str, ...], env: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """The compiler itself where $CXX names a launcher such as `nice g++`, and its words."""
    for number, word in enumerate(command[1:], 1):
        if not word.startswith("-") and (found := shutil.which(word, path=env.get("PATH"))):
            return found, command[number + 1 :]
    return command[0], command[1:]


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


def _features(openmp: Iterable[str], linker: str | None, env: Mapping[str, str]) -> Iterator[str]:
    if any(openmp):
        yield "openmp"
    if linker and _writes_depfiles(linker, env):
        yield "link-depfile"


def _writes_depfiles(linker: str, env: Mapping[str, str]) -> bool:
    """Whether it tells what it reads: GNU ld from 2.35, LLD from 13."""
    try:
        answer = run((linker, "--help"), env, "linker")
    except EnvironmentProblem:
        return False
    return answer.returncode == 0 and "--dependency-file" in answer.stdout
