"""What is done to the project between two builds, in ways that happen to real ones."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from truth.tree import Tree

Build = Callable[[], object]
HERE, THERE, STOPPING = 500_000, 400_000, 300_000
"""Machines (see Tree.machine): the one of the first build, another, one where compilers wait."""
LONG_AGO = 1_000_000_000
CALLS_FACTOR = 'extern "C" int factor();\nextern "C" int answer() { return factor() * SCALE; }\n'
ALIGNING = '#!/bin/bash\nexec g++ -falign-functions=16 "$@"\n'
ASSEMBLER = '#!/bin/bash\nexec /usr/bin/as --defsym PATCH=1 "$@"\n'
NATIVE = f"""\
#!/bin/bash
# The CPU that -march=native is expanded for is the machine's: here that is a limit, not a file.
[ "$(ulimit -q)" = {THERE} ] && cpu=x86-64-v3 || cpu=x86-64-v2
words=()
for word in "$@"; do words+=("${{word/#-march=native/-march=$cpu}}"); done
exec g++ "${{words[@]}}"
"""
WAITING = f"""\
#!/bin/bash
# Waits before it reads anything, so that an edit comes in between; not where it only preprocesses.
case " $* " in
*" -E "*) ;;
*" -c "*) [ "$(ulimit -q)" = {STOPPING} ] && kill -STOP $$ ;;
esac
exec g++ "$@"
"""


@dataclass(frozen=True)
class Mutation:
    """One row of the table."""

    name: str
    apply: Callable[[Tree, Build], object]
    """Change the tree; the second argument builds it meanwhile."""
    prepare: Callable[[Tree], object] = lambda tree: None
    """Before the first build."""
    during: Callable[[Tree, Callable[[], bool]], None] | None = None
    """Beside the first build, until the second argument says that it is over."""
    links: bool = False
    """Whether it is about linking: what only caches compiles is not asked."""


def _with(prepare: Callable[[Tree], object], **changes: object) -> Callable[[Tree], None]:
    def prepared(tree: Tree) -> None:
        for name, value in changes.items():
            setattr(tree, name, value)
        prepare(tree)

    return prepared


def _asks_for_extra(tree: Tree) -> None:
    text = '#if __has_include("extra.h")\n#include "extra.h"\n#else\n#define EXTRA 1\n#endif\n'
    tree.write("demo/one.cpp", text + 'extern "C" int extra() { return EXTRA * SCALE; }\n')


def _cpath(tree: Tree) -> None:
    for value, folder in enumerate(("ext/one", "ext/two")):
        tree.write(f"{folder}/outside.h", f"#define OUTSIDE {value + 4}\n")
    text = '#include <outside.h>\nextern "C" int outside() { return OUTSIDE * SCALE; }\n'
    tree.write("demo/one.cpp", text)
    tree.env["CPATH"] = str(tree.folder / "ext/one")


def _incbin(tree: Tree) -> None:
    tree.write("demo/include/blob.bin", "one")
    tree.write(
        "demo/one.cpp",
        'asm(".section .rodata\\n.globl blob\\nblob: .incbin \\"blob.bin\\"\\n.text\\n");\n'
        "int scaled = SCALE;\n",
    )


def _response_file(tree: Tree) -> None:
    tree.write("demo/flags.rsp", "-DOFFSET=1\n")
    tree.write("demo/one.cpp", 'extern "C" int offset() { return OFFSET * SCALE; }\n')
    tree.flags.append("@{project}/demo/flags.rsp")


def _libraries(*flags: str, built: tuple[str, ...] = ("libs/one",)) -> Callable[[Tree], None]:
    def prepare(tree: Tree) -> None:
        tree.write("demo/one.cpp", CALLS_FACTOR)
        tree.write("libs/first/.keep", "")
        for value, folder in enumerate(built):
            tree.library(folder, value + 4)
        tree.link_flags += [*flags, "-lfactor"]

    return prepare


def _library_path(tree: Tree) -> None:
    _libraries(built=("libs/one", "libs/two"))(tree)
    tree.env["LIBRARY_PATH"] = str(tree.folder / "libs/one")


def _stand_in(text: str, machine: int | None = None) -> Callable[[Tree], None]:
    def prepare(tree: Tree) -> None:
        tree.compiler = str(tree.write("tools/g++", text, mode=0o755))
        tree.machine = machine

    return prepare


def _assembler(tree: Tree) -> None:
    tree.write("tools/as", ASSEMBLER, mode=0o755)
    tree.flags.append("-B{project}/tools/")


def _native(tree: Tree) -> None:
    _stand_in(NATIVE, HERE)(tree)
    tree.flags += ["-march=native", "-ffast-math"]


def _reverted(tree: Tree, build: Build) -> None:
    tree.edit("demo/include/factor.h", "2", "7")
    build()
    tree.edit("demo/include/factor.h", "7", "2")


def _old_header(tree: Tree, build: Build) -> None:
    path = tree.write("demo/include/factor.h", "#define FACTOR 12\n")
    os.utime(path, (LONG_AGO, LONG_AGO))


def _swapped(name: str, old: str, new: str) -> Callable[[Tree, Build], None]:
    """Replaced by a file of the same size and mtime, as a reinstallation may do."""

    def apply(tree: Tree, build: Build) -> None:
        path = tree.folder / name
        was = path.stat()
        other = tree.write(f"{name}.new", path.read_text().replace(old, new), mode=0o755)
        os.utime(other, ns=(was.st_atime_ns, was.st_mtime_ns))
        other.replace(path)
        assert path.stat().st_size == was.st_size

    return apply


def _edited_meanwhile(tree: Tree, over: Callable[[], bool]) -> None:
    """While the first compiler waits, the header changes; then all go on."""
    edited = False
    while not over():
        for process in _stopped(tree.compiler):
            if not edited:
                tree.edit("demo/include/factor.h", "2", "7")
                edited = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)
        time.sleep(0.01)
    assert edited, "no compiler waited"


def _back_again(tree: Tree, build: Build) -> None:
    """As before that edit: what was built of it must not come back."""
    tree.machine = None
    tree.edit("demo/include/factor.h", "7", "2")


def _stopped(command: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if (
                entry.name.isdigit()
                and command.encode() in (entry / "cmdline").read_bytes()
                and (entry / "stat").read_text().rpartition(")")[2].split()[0] == "T"
            ):
                found.append(int(entry.name))
    return found


FACTOR = "demo/include/factor.h"
MUTATIONS = (
    Mutation("touch of a source", lambda t, _: os.utime(t.folder / "demo/one.cpp")),
    Mutation("comment in a source", lambda t, _: t.edit("demo/one.cpp", "{", "{ /* why */")),
    Mutation("header edited", lambda t, _: t.edit(FACTOR, "2", "12")),
    Mutation(
        "header edited, same size, mtime restored",
        lambda t, _: t.edit(FACTOR, "2", "7", keep_mtime=True),
    ),
    Mutation("header replaced by one with an old mtime", _old_header),
    Mutation(
        "header appears earlier on the include path",
        lambda t, _: t.write("demo/first/factor.h", "#define FACTOR 9\n"),
    ),
    Mutation(
        "header removed, a later one is found",
        lambda t, _: (t.folder / "demo/first/factor.h").unlink(),
        lambda t: t.write("demo/first/factor.h", "#define FACTOR 9\n"),
    ),
    Mutation(
        "target of `__has_include` appears",
        lambda t, _: t.write("demo/first/extra.h", "#define EXTRA 5\n"),
        _asks_for_extra,
    ),
    Mutation(
        "`CPATH` names another folder",
        lambda t, _: t.env.update(CPATH=str(t.folder / "ext/two")),
        _cpath,
    ),
    Mutation(
        "a `-D` value changes in the rows", lambda t, _: t.edit("demo/rows.csv", "3,1", "4,1")
    ),
    Mutation(
        "rows in another order",
        lambda t, _: t.write("demo/rows.csv", "SCALE,BIAS\n3,1\n2,1\n"),
    ),
    Mutation("another checkout, in another folder", lambda t, _: t.move()),
    Mutation("edit, build, and back again", _reverted),
    Mutation(
        "edit while the compiler runs, and back again",
        _back_again,
        _stand_in(WAITING, STOPPING),
        during=_edited_meanwhile,
    ),
    Mutation(
        "compiler replaced, same size and mtime",
        _swapped("tools/g++", "=16", "=32"),
        _stand_in(ALIGNING),
    ),
    Mutation(
        "assembler replaced, same size and mtime",
        _swapped("tools/as", "PATCH=1", "PATCH=2"),
        _assembler,
    ),
    Mutation(
        "`-march=native` on another CPU",
        lambda t, _: setattr(t, "machine", THERE),
        _native,
    ),
    Mutation(
        "file of an `.incbin` edited",
        lambda t, _: t.edit("demo/include/blob.bin", "one", "two"),
        _incbin,
    ),
    Mutation(
        "response file edited",
        lambda t, _: t.edit("demo/flags.rsp", "=1", "=3"),
        _response_file,
    ),
    Mutation(
        "static library rebuilt",
        lambda t, _: t.library("libs/one", 9),
        _libraries("-L{project}/libs/one"),
        links=True,
    ),
    Mutation(
        "library appears earlier on the `-L` path",
        lambda t, _: t.library("libs/first", 9),
        _libraries("-L{project}/libs/first", "-L{project}/libs/one"),
        links=True,
    ),
    Mutation(
        "`LIBRARY_PATH` names another folder",
        lambda t, _: t.env.update(LIBRARY_PATH=str(t.folder / "libs/two")),
        _library_path,
        links=True,
    ),
)
