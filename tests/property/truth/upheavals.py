"""What may happen to declarations, environment, toolchain, store and the whole checkout."""

import os
import shutil
from pathlib import Path

from tests.property.truth.edits import choose, edit
from tests.property.truth.project import Site
from tests.property.truth.recorder import install

MODES = ("release", "debug", "fast")
TARGETS = (
    ("cpu", "cpu:x86-64-v3"), ("cpu",), ("cpu:x86-64-v3", "cpu"), ("cpu", "cpu:x86-64-v2"),
)  # fmt: skip
FOLDERS = (
    ("demo/first", "demo/include", "demo/last"), ("demo/include", "demo/first", "demo/last"),
    ("demo/last", "demo/first", "demo/include"), ("demo/first", "demo/include"),
)  # fmt: skip
FLAGS = (
    (), ("-DEXTRA=1",), ("-DEXTRA=2", "-fno-common"), ("-include", "{project}/demo/last/h3.h"),
    ("-iquote", "{project}/demo/outside"), ("-isystem{project}/demo/outside",),
)  # fmt: skip
ROWS = (
    ((1, "a"), (2, "b")), ((2, "b"), (1, "a")), ((1, "a"),), ((1, "a"), (2, "b"), (3, "a")),
    ((1, "b"), (2, "b")),
)  # fmt: skip
SEEN = ("CPATH", "CPLUS_INCLUDE_PATH", "DEMO_FLAVOUR")
UNSEEN = ("DEMO_NOISE", "CFLAGS", "HOSTNAME", "LANG", "TZ", "EDITOR")
BY_HAND = frozenset({"build", "cache", "__pycache__"})
"""What is in no checkout."""


# Declarations


@edit("switch the mode")
def switch_mode(site: Site, a: int, b: int) -> None:
    site.declare(mode=choose(MODES, a))


@edit("switch the targets")
def switch_targets(site: Site, a: int, b: int) -> None:
    site.declare(targets=choose(TARGETS, a))


@edit("change flags")
def change_flags(site: Site, a: int, b: int) -> None:
    site.declare(flags=choose(FLAGS, a))


@edit("change include directories")
def change_folders(site: Site, a: int, b: int) -> None:
    site.declare(include_dirs=choose(FOLDERS, a))


@edit("change rows")
def change_rows(site: Site, a: int, b: int) -> None:
    site.declare(rows=choose(ROWS, a))


@edit("declare other kernels")
def change_kernels(site: Site, a: int, b: int) -> None:
    every = type(site.declared)().kernels
    left_out = choose(every, a) if b % 2 else ""
    site.declare(kernels=tuple(name for name in every if name != left_out))


@edit("reorder rows and keys", neutral=True)
def reorder(site: Site, a: int, b: int) -> None:
    site.declare(order=a % 12)


@edit("move rows into pyproject.toml, or back")
def move_rows(site: Site, a: int, b: int) -> None:
    site.declare(inline=not site.declared.inline)


# World


@edit("set a variable that compilers or kernels see")
def seen_variable(site: Site, a: int, b: int) -> None:
    name = choose(SEEN, a)
    values = ("", "{project}/demo/outside", "{project}/demo/last:{project}/demo/outside")
    value = choose(("", "sweet", "sour"), b) if name == "DEMO_FLAVOUR" else choose(values, b)
    site.env.pop(name, None)
    if value:
        site.env[name] = value


@edit("set a variable that nobody sees", neutral=True)
def unseen_variable(site: Site, a: int, b: int) -> None:
    site.env[choose(UNSEEN, a)] = choose(("C", "there", "{project}"), b)


@edit("become another user", neutral=True)
def another_user(site: Site, a: int, b: int) -> None:
    name = choose(("ann", "bob"), a)
    home = site.root / name
    home.mkdir(exist_ok=True)
    site.env |= {"USER": name, "LOGNAME": name, "HOME": str(home), "HOSTNAME": f"host-{name}"}
    site.env |= {"LC_ALL": choose(("C", "C.UTF-8", "POSIX"), b), "LANG": "de_DE.UTF-8"}


@edit("another interpreter, umask and number of workers", neutral=True)
def another_process(site: Site, a: int, b: int) -> None:
    site.jobs, site.umask = 1 + b % 3, choose((0o077, 0o002, 0o022), b)
    if a % 4 == 0:  # The pool is started anew: that costs ten edits.
        site.seed = str(b % 3 + 1)


@edit("swap the compiler for one of equal size and mtime")
def swap_compiler(site: Site, a: int, b: int) -> None:
    if site.recorder is not None:
        site.identity = (site.identity + 1) % 2
        for name in ("cxx", "other"):
            install(site.recorder, site.identity, site.root / name)


@edit("the same compiler elsewhere", neutral=True)
def move_compiler(site: Site, a: int, b: int) -> None:
    site.compiler = choose(("cxx", "other"), a)


# The checkout


@edit("put a checkout by")
def keep(site: Site, a: int, b: int) -> None:
    tree: dict[str, bytes | None] = {}
    for path in sorted(site.project.rglob("*")):
        name = path.relative_to(site.project).as_posix()
        if BY_HAND.isdisjoint(path.relative_to(site.project).parts):
            if path.is_symlink():
                tree[name] = b"link:" + os.fsencode(os.readlink(path))
            else:
                tree[name] = None if path.is_dir() else b"file:" + path.read_bytes()
    site.kept.append(tree)
    site.kept_declared.append(site.declared)


@edit("check out what was put by")
def check_out(site: Site, a: int, b: int) -> None:
    if not site.kept:
        return
    at = a % len(site.kept)
    site.declared = site.kept_declared[at]
    for path in site.project.iterdir():
        if path.name not in BY_HAND:
            site.remove(path.name)
    for name, content in site.kept[at].items():
        path = site.path(name)
        if content is None:
            path.mkdir(exist_ok=True)
        elif content.startswith(b"link:"):
            path.symlink_to(os.fsdecode(content[5:]))
        else:
            path.write_bytes(content[5:])


@edit("go on in a copy elsewhere", neutral=True)
def go_elsewhere(site: Site, a: int, b: int) -> None:
    site.copies += 1
    place = site.root / choose(("here", "there", "a longer place"), b) / f"p{site.copies}"
    leave = shutil.ignore_patterns("build") if a % 2 == 0 else None
    shutil.copytree(site.project, place, symlinks=True, ignore=leave)
    if a % 3 == 2:
        shutil.rmtree(site.project)
    site.project = place


# Outputs and store


@edit("lose the build folder", neutral=True)
def lose_build(site: Site, a: int, b: int) -> None:
    shutil.rmtree(site.project / "build", ignore_errors=True)


@edit("lose or damage outputs", neutral=True)
def lose_outputs(site: Site, a: int, b: int) -> None:
    result = site.project / "build" / "aot" / "demo" / "_aot"
    files = sorted(path for path in result.rglob("*") if path.is_file())
    for path in files[a % 3 :: 3] if files else []:
        if b % 3 == 0:
            path.unlink()
        elif b % 3 == 1:
            path.write_bytes(b"damaged")
        elif path.stat().st_size:
            before, content = path.stat(), path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@edit("lose what a build knows of digests and decisions", neutral=True)
def lose_records(site: Site, a: int, b: int) -> None:
    for name in choose((("log",), ("digests", "contents"), ("outputs", "snapshot")), a):
        for path in (site.project / "build" / "aot").glob(f"{name}-v*"):
            path.unlink()


@edit("lose or damage blobs")
def lose_blobs(site: Site, a: int, b: int) -> None:
    blobs: list[Path] = sorted(p for p in (site.cache / "cas-v1").rglob("*") if p.is_file())
    for path in blobs[a % 4 :: 4]:
        if b % 2:
            path.unlink()
        else:
            path.write_bytes(b"?" * path.stat().st_size)
