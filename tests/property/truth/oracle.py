"""What a build of a site must leave, read off the disk: nothing is compiled, called or imported.

For each variant the text of its artifact and its *state*: all that its action stands on, in
canonical form. Two builds of one state are one too many.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aot_build.backends.command import QUIET_REDEFINITION, TIMESTAMP
from aot_build.core.target import parse_target
from aot_build.pipelines.modes import mode_flags
from tests.property.truth.project import COMPILED, Site
from tests.property.truth.recorder import IDENTITIES

STANDARD = "c++17"
DEEP = 40
_HAS = re.compile(r'#if __has_include\(([<"])([^">]*)[">]')
_INCLUDE = re.compile(r'#include ([<"])([^">]*)[">]')

Name = tuple[str, str, tuple[tuple[str, object], ...]]
"""Kernel, target, row."""


class Fails(Exception):
    """The action must fail: a file that it needs is not there."""


@dataclass(frozen=True)
class Expected:
    """`text` is None where the variant must fail."""

    text: bytes | None
    state: object
    shape: object = None
    """Which files are there to be read, whatever they hold: a trace of its own."""


@dataclass
class Outlook:
    """What a build must come to."""

    variants: dict[Name, Expected] = field(default_factory=dict)
    listing: object = None
    """State of the function that lists rows."""
    refused: bool = False
    """Whether it cannot even be planned: a declared source or config is not there."""

    @property
    def fails(self) -> bool:
        return self.refused or any(each.text is None for each in self.variants.values())


def look_ahead(site: Site) -> Outlook:
    """What a build of this site must come to."""
    found = Outlook()
    for name in site.declared.kernels:
        try:
            found.variants.update(_kernel(site, name, found))
        except FileNotFoundError:
            found.refused = True
    return found


def _kernel(site: Site, name: str, outlook: Outlook) -> Iterator[tuple[Name, Expected]]:
    if name == "scale":
        _declared(site, ["demo/scale.cpp", *([] if site.declared.inline else ["demo/scale.csv"])])
        for target in sorted(set(site.declared.targets)):
            for n, t in site.declared.rows:
                yield (name, target, (("N", n), ("T", t))), _compiled(site, name, target, n, t)
    elif "cpu" not in site.declared.targets:
        return
    elif name == "blend":
        _declared(site, ["demo/blend.cpp", "demo/mix.cpp"])
        yield (name, "cpu", (("N", 7),)), _compiled(site, name, "cpu", 7)
    elif name == "table":
        rows = _read(site.path("demo/rows.txt")).decode()
        outlook.listing = ("rows", rows, site.declared.mode)
        for n in dict.fromkeys(int(word) for word in rows.split()):
            yield (name, "cpu", (("n", n),)), _called(site, name, n)
    else:
        yield (name, "cpu", (("n", 5),)), _called(site, name, 5)


def _declared(site: Site, names: list[str]) -> None:
    for name in names:
        if not site.path(name).is_file():
            raise FileNotFoundError(name)


# C++


class Compile:
    """One source, read as the recording compiler reads it."""

    def __init__(self, site: Site, folders: dict[str, list[str]]) -> None:
        self._project = str(site.project)
        self._folders = folders
        self.lines: list[str] = []
        self.probed: list[tuple[str, str]] = []
        """Each path that was looked for, and what was there."""
        self.read: list[bytes] = []
        """The files: what a condition leaves out counts as well."""

    def take(self, path: str, depth: int = 0) -> None:
        content = _content(path)
        if content is None or depth > DEEP:
            raise Fails(path)
        self.lines.append(f"file {self._by_role(path)}")
        self.read.append(content)
        skipping = False
        for line in content.decode().split("\n"):
            if asked := _HAS.match(line):
                there = self._resolved(asked[2], asked[1] == '"', path)
                self.lines.append(f"has {asked[2]} {int(there is not None)}")
                skipping = there is None
            elif line == "#endif":
                skipping = False
            elif skipping:
                continue
            elif asked := _INCLUDE.match(line):
                there = self._resolved(asked[2], asked[1] == '"', path)
                if there is None:
                    raise Fails(asked[2])
                self.take(there, depth + 1)
            elif line or not content.endswith(b"\n"):
                self.lines.append(f"| {line}")
        self.lines.append("end")

    def _by_role(self, path: str) -> str:
        return path.replace(self._project, ".", 1)

    def _resolved(self, name: str, in_quotes: bool, includer: str) -> str | None:
        groups = ("-iquote", "-I", "-isystem") if in_quotes else ("-I", "-isystem")
        folders = [os.path.dirname(includer)] if in_quotes else []
        folders += [folder for group in groups for folder in self._folders[group]]
        for folder in folders:
            path = f"{folder}/{name}"
            kind = _kind(path)
            self.probed.append((self._by_role(path), kind))
            if kind == "file":
                return path
        return None


def _compiled(site: Site, name: str, target: str, n: int, t: str = "") -> Expected:
    declared, project = site.declared, str(site.project)
    own = [flag.replace("{project}", project) for flag in declared.flags if name == "scale"]
    folders, forced, words = _split(own)
    folders["-I"] = [f"{project}/{each}" for each in declared.include_dirs] + folders["-I"]
    for variable, group in (("CPATH", "-I"), ("CPLUS_INCLUDE_PATH", "-isystem")):
        value = site.env.get(variable, "").replace("{project}", project)
        folders[group] += [each for each in value.split(":") if each]
    head = [f"recorder {IDENTITIES[site.identity]}"]
    macros = [f"-DN={n}", *([f"-DT={t}"] if t else [])]
    fixed = [QUIET_REDEFINITION, TIMESTAMP]
    flags = [
        f"-std={STANDARD}",
        "-fPIC",
        *fixed,
        *macros,
        *mode_flags(declared.mode, parse_target(target)),
    ]
    text, probed, read = [*head, "word -shared"], [], []
    try:
        for source in COMPILED_SOURCES[name]:
            one = Compile(site, folders)
            for path in forced:
                one.take(path)
            one.take(f"{project}/{source}")
            text += [*head, *(f"word {word}" for word in [*flags, *words]), *one.lines]
            probed += one.probed
            read += one.read
        whole = "\n".join([*text, ""])
        if name == "blend" and declared.library:
            whole += _library(project, probed)
    except Fails:
        return Expected(None, None)
    env = tuple(site.env.get(each, "") for each in ("CPATH", "CPLUS_INCLUDE_PATH"))
    # A compiler looks at the folders themselves: it passes over those that it has under two names.
    places = tuple((_kind(each), os.path.islink(each)) for f in folders.values() for each in f)
    told = (
        places,
        declared.include_dirs,
        declared.flags if name == "scale" else (),
        env,
        declared.mode,
    )
    files = tuple(line for line in text if line.startswith("file "))
    return Expected(
        whole.encode(), (whole, tuple(probed), tuple(read), told), (files, tuple(probed))
    )


COMPILED_SOURCES = {
    "scale": ("demo/scale.cpp",),
    "blend": ("demo/blend.cpp", "demo/mix.cpp"),
}
assert tuple(COMPILED_SOURCES) == COMPILED


def _split(flags: list[str]) -> tuple[dict[str, list[str]], list[str], list[str]]:
    """Folders by option, files that are included first, and all other words."""
    found: dict[str, list[str]] = {"-include": [], "-iquote": [], "-isystem": [], "-I": []}
    rest, words = [], iter(flags)
    for word in words:
        option = next((o for o in found if word.startswith(o)), None)
        if option is None:
            rest.append(word)
        else:
            found[option].append(word[len(option) :] or next(words))
    return found, found.pop("-include"), rest


def _library(project: str, probed: list[tuple[str, str]]) -> str:
    for folder in ("demo/lib_first", "demo/lib"):
        for name in ("libmix.so", "libmix.a"):
            path = f"{project}/{folder}/{name}"
            probed.append((f"./{folder}/{name}", _kind(path)))
            if (content := _content(path)) is not None:
                return f"library {name}\n{content.decode()}\n"
    raise Fails("libmix")


# Python


def _called(site: Site, name: str, n: int) -> Expected:
    demo = site.path("demo")
    try:
        tuned = _tuned(demo)
        settings = _value(demo, "settings")
        pieces = _value(demo, "pieces/first")
        modules = (tuned, settings, pieces)
        text = _child(demo, n) if name == "child" else _table(site, n, modules)
    except Fails:
        return Expected(None, None)
    option = demo / "option"
    shape = tuple(each.partition(" ")[0] for each in modules), _kind(str(option))
    # Whoever looks at a file may go by its size.
    size = option.stat().st_size if option.is_file() else None
    return Expected(text.encode(), (text, modules, site.declared.mode, size), shape)


def _table(site: Site, n: int, modules: tuple[str, str, str]) -> str:
    demo = site.path("demo")
    tuned, settings, pieces = modules
    option = _kind(str(demo / "option"))
    flavour = site.env.get("DEMO_FLAVOUR")
    return "\n".join(
        [
            f"table cpu {n} {settings.rpartition(' ')[2]} {pieces.rpartition(' ')[2]}"
            f" {tuned.rpartition(' ')[2]}",
            f"text {_read(demo / 'table.txt').decode()!r}",
            f"parts {sorted(os.listdir(demo / 'parts'))}",
            f"option {option}",
            f"flavour {flavour}",
        ]
    )


def _child(demo: Path, n: int) -> str:
    content = _content(str(demo / "child.txt"))
    return f"child {n} {int(content is None)} {(content or b'').decode()!r}"


def _value(demo: Path, name: str) -> str:
    """Where `VALUE` of a module comes from, and what it is: a package goes first."""
    for path in (f"{name}/__init__.py", f"{name}.py"):
        if (demo / path).is_file():
            return f"{path} {_assigned(demo / path)}"
    raise Fails(name)


def _tuned(demo: Path) -> str:
    for path in ("tuned/__init__.py", "tuned.py"):
        if (demo / path).is_file():
            return f"{path} {_assigned(demo / path)}"
    return "nowhere none"


def _assigned(path: Path) -> str:
    (line,) = (each for each in path.read_text().splitlines() if " = " in each)
    return line.partition(" = ")[2].strip('"')


# The disk


def _kind(path: str) -> str:
    if os.path.isdir(path):
        return "folder"
    # A link to nothing is nothing to whoever opens it, and something to whoever lists.
    return "file" if os.path.isfile(path) else "link" if os.path.islink(path) else "none"


def _content(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def _read(path: Path) -> bytes:
    content = _content(str(path))
    if content is None:
        raise Fails(str(path))
    return content
