"""What may happen to a project between two builds: one function an edit, by name in `EDITS`.

`a` and `b` choose among what there is. What cannot be done is left undone: any list of edits can be
carried out, so that a failing list can be shortened.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.property.truth.project import Site

T = TypeVar("T")
Change = Callable[[Site, int, int], None]
EDITS: dict[str, Change] = {}
NEUTRAL: set[str] = set()
"""Edits after which nothing is to be built."""

HEADERS = ("h0.h", "h1.h", "h2.h", "h3.h", "h4.h", "extra.h")
PLACES = ("demo/first", "demo/include", "demo/last", "demo", "demo/outside")


@dataclass(frozen=True)
class Edit:
    """One edit; 0 is the plainest choice."""

    name: str
    a: int = 0
    b: int = 0

    def carry_out(self, site: Site) -> None:
        EDITS[self.name](site, self.a, self.b)


def edit(name: str, *, neutral: bool = False) -> Callable[[Change], Change]:
    """Register a function under the name that a reader meets."""

    def register(change: Change) -> Change:
        EDITS[name] = change
        if neutral:
            NEUTRAL.add(name)
        return change

    return register


def choose(items: Sequence[T], a: int) -> T:
    return items[a % len(items)]


def headers(site: Site) -> list[str]:
    """All headers that there are, as files or links."""
    names = (f"{place}/{name}" for place in PLACES for name in HEADERS)
    return [name for name in names if site.path(name).is_file()]


def header_text(name: str, value: int, more: int = 0) -> str:
    """A header that defines its macro, and may include later ones: never in a circle."""
    number = HEADERS.index(name)
    lines = [f"#undef H{number}", f"#define H{number} {value % 10}"]
    later = HEADERS[number + 1 : 5]
    if later and more % 3 == 1:
        lines.append(f'#include "{choose(later, more)}"')
    if later and more % 3 == 2:
        wanted = choose(later, more)
        lines += [f"#if __has_include(<{wanted}>)", f"#include <{wanted}>", "#endif"]
    return "\n".join([*lines, ""])


# Headers and sources


@edit("change a source")
def change_source(site: Site, a: int, b: int) -> None:
    name = choose(("scale", "blend"), a)
    text = site.path(f"demo/{name}.cpp").read_text()
    head, _, _ = text.rpartition("N + ")
    site.write(f"demo/{name}.cpp", f"{head}N + {b % 10}; }}\n")


@edit("change a header")
def change_header(site: Site, a: int, b: int) -> None:
    if found := headers(site):
        name = choose(found, a)
        site.write(name, header_text(os.path.basename(name), b))


@edit("add a header earlier on the path")
def add_header_earlier(site: Site, a: int, b: int) -> None:
    name = choose(HEADERS, a)
    site.write(f"{choose(('demo/first', 'demo'), b)}/{name}", header_text(name, b))


@edit("add a header anywhere")
def add_header(site: Site, a: int, b: int) -> None:
    name = choose(HEADERS, a)
    site.write(f"{choose(PLACES, b)}/{name}", header_text(name, a))


@edit("remove a header")
def remove_header(site: Site, a: int, b: int) -> None:
    # The last ones in most cases: without the first nothing compiles for the rest of the time.
    found = [name for name in headers(site) if name not in site.files or b % 7 == 6]
    if found:
        site.remove(choose(found, a))


@edit("let a header include another")
def include_another(site: Site, a: int, b: int) -> None:
    if found := headers(site):
        name = choose(found, a)
        site.write(name, header_text(os.path.basename(name), 1, b))


@edit("turn a header into a folder, or back")
def header_into_folder(site: Site, a: int, b: int) -> None:
    folders = [f"{p}/{h}" for p in PLACES for h in HEADERS if site.path(f"{p}/{h}").is_dir()]
    if folders and b % 2:
        name = choose(folders, a)
        site.remove(name)
        site.write(name, header_text(os.path.basename(name), b))
        return
    site.remove(name := f"{choose(PLACES, b)}/{choose(HEADERS, a)}")
    site.write(f"{name}/inside.h", "#define INSIDE 1\n")


@edit("point a link elsewhere")
def retarget_link(site: Site, a: int, b: int) -> None:
    ends = {
        "demo/first/h0.h": ("../include/h0.h", "../outside/h0.h"),
        "demo/first/h2.h": ("../last/h2.h", "../include/h2.h", "../nothing.h"),
        "demo/h1.h": ("outside/h1.h", "include/h1.h"),
    }
    name = choose(tuple(ends), a)
    site.write(name, "")
    site.path(name).unlink()
    site.path(name).symlink_to(choose(ends[name], b))


@edit("link a folder that is searched")
def link_folder(site: Site, a: int, b: int) -> None:
    place = site.path("demo/first")
    site.remove("demo/first")
    if a % 3 == 2:
        site.write("demo/first/.keep", "")
        return
    place.symlink_to(choose(("outside", "last"), b))


@edit("rename a folder, or back")
def rename_folder(site: Site, a: int, b: int) -> None:
    name = choose(("demo/first", "demo/last", "demo/outside", "demo/lib_first"), a)
    here, there = site.path(name), site.path(f"{name}_away")
    if there.is_dir() and not here.exists():
        there.rename(here)
    elif here.is_dir() and not there.exists():
        here.rename(there)


@edit("touch files", neutral=True)
def touch(site: Site, a: int, b: int) -> None:
    files = sorted(p for p in site.project.joinpath("demo").rglob("*") if p.is_file())
    for path in files if b % 2 else [choose(files, a)]:
        os.utime(path)


@edit("edit in place, size and mtime as they were")
def edit_in_place(site: Site, a: int, b: int) -> None:
    names = [*headers(site), "demo/table.txt", "demo/settings.py", "demo/child.txt"]
    path = site.path(choose(names, a))
    if not path.is_file():
        return
    before, text = path.stat(), path.read_text()
    at = max((n for n, letter in enumerate(text) if letter.isdigit()), default=-1)
    if at >= 0:
        # Written over, not replaced: the inode stays as well.
        path.write_text(f"{text[:at]}{b % 10}{text[at + 1 :]}")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@edit("add a library earlier, or take it away")
def shadow_library(site: Site, a: int, b: int) -> None:
    names = ("demo/lib/libmix.so", "demo/lib_first/libmix.a", "demo/lib_first/libmix.so")
    name = choose(names, a)
    if site.path(name).exists() and b % 2 == 0:
        site.remove(name)
    else:
        site.write(name, f"library {b % 10}\n")


@edit("change the library")
def change_library(site: Site, a: int, b: int) -> None:
    site.write("demo/lib/libmix.a", f"archive {b % 10}\n")


@edit("add a file that nobody reads", neutral=True)
def add_unrelated(site: Site, a: int, b: int) -> None:
    name = choose(("notes.txt", "demo/notes.md", "demo/last/unused.h", "demo/unused.py"), a)
    site.write(name, f"{b}\n" if not name.endswith(".py") else f"N = {b}\n")


# Python


@edit("change a module")
def change_module(site: Site, a: int, b: int) -> None:
    site.write(choose(("demo/settings.py", "demo/pieces/first.py"), a), f"VALUE = {b % 10}\n")


@edit("comments and layout of Python", neutral=True)
def comments(site: Site, a: int, b: int) -> None:
    names = (
        "demo/settings.py", "demo/pieces/first.py", "demo/generate.py", "demo/rows.py",
        "demo/__init__.py",
    )  # fmt: skip
    path = site.path(choose(names, a))
    if not path.is_file():
        return
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# said")]
    blank = [""] * (b % 4)
    path.write_text("\n".join([*blank, f"# said {b}", *lines, *blank, ""]))


@edit("add or take away an optional module")
def optional_module(site: Site, a: int, b: int) -> None:
    names = ("demo/tuned.py", "demo/tuned/__init__.py")
    name = choose(names, a)
    there = [each for each in ("demo/tuned.py", "demo/tuned") if site.path(each).exists()]
    for each in there:
        site.remove(each)
    if not there or b % 3:
        site.write(name, f'TUNED = "t{b % 10}"\n')


@edit("put a package before a module, or take it away")
def shadow_module(site: Site, a: int, b: int) -> None:
    if site.path("demo/settings/__init__.py").exists() and a % 2 == 0:
        site.remove("demo/settings")
    else:
        site.write("demo/settings/__init__.py", f"VALUE = 1{b % 10}\n")


@edit("change a file that Python reads")
def change_text(site: Site, a: int, b: int) -> None:
    site.write("demo/table.txt", f"table {b % 10}\n")


@edit("change a file that a child program reads")
def change_child(site: Site, a: int, b: int) -> None:
    if b % 5 == 4:
        site.remove("demo/child.txt")
    else:
        site.write("demo/child.txt", f"child {b % 10}\n")


@edit("add to a listed folder, or take away")
def change_listing(site: Site, a: int, b: int) -> None:
    name = f"demo/parts/{choose(('one', 'two', 'three'), a)}"
    if site.path(name).exists():
        site.remove(name)
    else:
        site.write(f"{name}/inside" if b % 3 == 2 else name, "")
    site.path("demo/parts").mkdir(exist_ok=True)


@edit("change what is only looked at")
def change_option(site: Site, a: int, b: int) -> None:
    site.remove("demo/option")
    if a % 3 == 1:
        site.write("demo/option", "x" * (b % 2))
    if a % 3 == 2:
        site.write("demo/option/inside", "")


@edit("change the rows that a function lists")
def change_listed_rows(site: Site, a: int, b: int) -> None:
    rows = choose(("1 2", "2 1", "1", "3 1", "1  2", "2 3 1"), a)
    site.write("demo/rows.txt", f"{rows}\n")
