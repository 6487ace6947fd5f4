"""What a compiler's flags name: folders that it searches, files that it reads."""

import contextlib
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aot_build.backends.tracing.depfile import read_depfile
from aot_build.core.action import Action
from aot_build.core.configuration import Configuration
from aot_build.core.kernel import Variant
from aot_build.core.roles import Roles

LINK_DEPFILE = "link.d"
BRINGS = re.compile(
    r"(?:-m|--machine[-=])(?:arch|tune|cpu)=native|-m(?:32|64|x32)|-f(?:no-)?integrated-as"
    r"|(?:-B|-fuse-ld=|--ld-path=|--gcc-toolchain=|--gcc-install-dir=|--sysroot=|--?specs=).+"
    r"|--target=.+|(?:-arch|--gpu-architecture|-code|--gpu-code)=native"
    r"|(?:-ccbin|--compiler-bindir)=.+"
)
"""Words that bring other programs into play, or the features of this host."""
APART = (
    "-B", "--sysroot", "-target", "-specs", "--specs", "-ccbin", "--compiler-bindir", "-arch",
    "--gpu-architecture", "-code", "--gpu-code",
)  # fmt: skip
"""Options among them whose value may be the next word."""
BRINGING_ENV = ("COMPILER_PATH", "GCC_EXEC_PREFIX", "PATH", "LIBRARY_PATH", "LD_LIBRARY_PATH")
"""Variables that bring other programs into play where a kernel sets them."""
RUN = ("as", "ld", "cc1plus", "collect2", "lto1", "lto-wrapper")
"""What a compiler looks for in a folder of programs."""
WRAPPERS = ("-Xcompiler", "--compiler-options")
FILES_OF_WORDS = ("--options-file", "-optf")
DEEPEST = 8


def brought(
    configuration: Configuration, words: Iterable[str], declared: Iterable[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """What flags, and variables that a kernel declares, bring into play beside the programs of the
    toolchain: parameters of the action. None where they bring nothing, which is the rule."""
    roles, toolchain = configuration.roles, configuration.toolchain
    env = {name: roles.expand(value) for name, value in declared}
    # clang's CCC_OVERRIDE_OPTIONS and the like hold words, each behind a mark.
    inside = [word.lstrip("+^#") for value in env.values() for word in value.split()]
    spelled = _joined(_spelled([*toolchain.command[1:], *map(roles.expand, words), *inside]))
    chosen = tuple(dict.fromkeys(word for word in spelled if BRINGS.fullmatch(word)))
    own = {name: env[name] for name in BRINGING_ENV if name in env}
    return tuple(sorted(toolchain.brings(chosen, own).items())) if chosen or own else ()


def _spelled(words: Iterable[str], depth: int = 0) -> Iterator[str]:
    """Words, with those that a wrapper or a response file holds in its place."""
    rest = iter(words)
    for word in rest:
        option, _, value = word.partition("=")
        if option in WRAPPERS:
            yield from _spelled((value or next(rest, "")).split(","), depth)
        elif word.startswith("@") or option in FILES_OF_WORDS:
            name = word[1:] if word.startswith("@") else value or next(rest, "")
            yield from _spelled(_words_in(name), depth + 1) if depth < DEEPEST else ()
        else:
            yield word


def _with_named(words: Iterable[str], depth: int = 0) -> Iterator[str]:
    """Words, and behind those that name a response file what that holds."""
    before = ""
    for word in words:
        yield word
        option, _, value = word.partition("=")
        name = word[1:] if word.startswith("@") else value if option in FILES_OF_WORDS else ""
        if before in FILES_OF_WORDS:
            name = word
        if name and depth < DEEPEST:
            yield from _with_named(_words_in(name), depth + 1)
        before = word


def _joined(words: Iterable[str]) -> Iterator[str]:
    """Options with their values."""
    rest = iter(words)
    for word in rest:
        if word == "-B":
            yield word + next(rest, "")
        elif word == "-target":
            yield f"--target={next(rest, '')}"
        else:
            yield f"{word}={next(rest, '')}" if word in APART else word


def _words_in(name: str) -> list[str]:
    try:
        return shlex.split(Path(name).read_text(errors="surrogateescape"))
    except (OSError, ValueError):
        return []


def tells_inputs(configuration: Configuration, variant: Variant) -> bool:
    """Whether the linker writes a depfile; what another one understands is not known."""
    words = (*configuration.toolchain.command, *variant.flags, *variant.link_flags)
    chosen = any("-fuse-ld" in word for word in words)
    return "link-depfile" in configuration.toolchain.features and not chosen


def linked(scratch: Path, real: Callable[[str], str] | None = None) -> set[str]:
    """Libraries, start-up files and scripts that the linker read, where it tells.

    `real` gives the path behind a word of the depfile; default: it counts from `scratch`.
    """
    with contextlib.suppress(FileNotFoundError):
        text = (scratch / LINK_DEPFILE).read_text(errors="surrogateescape")
        found = {os.path.join(scratch, real(word) if real else word) for word in read_depfile(text)}
        paths = set(map(os.path.normpath, found))
        return {p for p in paths if not p.startswith(f"{scratch}{os.sep}") and os.path.isfile(p)}
    return set()


def absent_libraries(flags: Iterable[str], roles: Roles) -> set[str]:
    """Where `-l` would find a library in a folder named by `-L`, and does not."""
    words = [roles.expand(flag) for flag in flags]
    folders = [word[2:] for word in words if word.startswith("-L")]
    names = [word[2:] for word in words if word.startswith("-l")]
    paths = {f"{d}/lib{n}.{end}" for d in folders for n in names for end in ("so", "a")}
    return {os.path.normpath(p) for p in paths if os.path.isabs(p) and not os.path.lexists(p)}


def absent_programs(flags: Iterable[str], env: Mapping[str, str], roles: Roles) -> set[str]:
    """Where the compiler would find what it runs in a folder named by `-B` or `COMPILER_PATH`, and
    does not."""
    words = _joined(_spelled(map(roles.expand, flags)))
    folders = [word[2:] for word in words if word.startswith("-B")]
    folders += roles.expand(env.get("COMPILER_PATH", "")).split(os.pathsep)
    paths = {os.path.normpath(f"{d}/{name}") for d in folders if os.path.isabs(d) for name in RUN}
    return {path for path in paths if not os.path.lexists(path)}


def named_files(flags: Iterable[str], roles: Roles) -> set[str]:
    """Files that a flag names, or a response file: version scripts, profiles, plug-ins, response
    files themselves."""
    found: set[str] = set()
    for word in _with_named(map(roles.expand, flags)):
        words = re.split(r"[=,]", word)
        for candidate in (c for word in words for c in (word, word.lstrip("@"), word[2:])):
            if os.path.isabs(candidate) and os.path.isfile(candidate):
                found.add(candidate)
    return found


def searched(
    action: Action, params: Mapping[str, Any], flags: Sequence[str], roles: Roles
) -> list[str]:
    """The folders that the action names for headers, in the order in which gcc looks there."""
    named: dict[str, list[str]] = {"-iquote": [], "-I": [], "-isystem": [], "-idirafter": []}
    named["-I"] += [roles.decode(d) for d in params.get("include-dirs", ())]
    words = iter(roles.expand(flag) for flag in flags)
    for word in words:
        for option, folders in named.items():
            if word.startswith(option):
                folders.append(word[len(option) :] or next(words, ""))
    env = {name: roles.expand(value).split(os.pathsep) for name, value in action.env}
    ordered = (
        *named["-iquote"], *named["-I"], *env.get("CPATH", ()), *named["-isystem"],
        *env.get("CPLUS_INCLUDE_PATH", ()), *named["-idirafter"],
    )  # fmt: skip
    return [folder for folder in ordered if os.path.isabs(folder)]
