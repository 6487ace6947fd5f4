"""A small C++ project that every tool can build: two sources, a few headers, two rows of macros."""

import csv
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

FILES = {
    "demo/__init__.py": "",
    "demo/first/.keep": "",
    "demo/include/factor.h": "#define FACTOR 2\n",
    "demo/include/sum.h": "inline int twice(int x) { return 2 * x; }\n",
    "demo/one.cpp": (
        '#include "factor.h"\nextern "C" int scale(int x) { return x * FACTOR * SCALE + BIAS; }\n'
    ),
    "demo/two.cpp": (
        '#include "factor.h"\n#include "sum.h"\n'
        'extern "C" float dot(const float *x, const float *y, int n) {\n'
        "  float sum = BIAS;\n"
        "  for (int i = 0; i < n; ++i) sum += x[i] * y[i] * FACTOR;\n"
        "  return twice(sum);\n}\n"
    ),
    "demo/rows.csv": "SCALE,BIAS\n2,1\n3,1\n",
}
SOURCES = ("demo/one.cpp", "demo/two.cpp")
INCLUDE_DIRS = ("demo/first", "demo/include")
FLAGS = ("-std=c++17", "-fPIC", "-O3", "-DNDEBUG")
"""What our mode `release` passes as well."""
MACHINE = resource.RLIMIT_MSGQUEUE
"""A limit that nothing here needs: stand-ins for compilers ask it, through no file, which machine
they are on."""


@dataclass
class Tree:
    """One checkout of the project, and the environment that it is built in."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    """For every compile; `{project}/` stands before paths."""
    link_flags: list[str] = field(default_factory=list)
    compiler: str = shutil.which("g++") or "g++"
    machine: int | None = None

    def __post_init__(self) -> None:
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name: str, text: str, *, mode: int = 0o644) -> Path:
        """A file of the project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def edit(self, name: str, old: str, new: str, *, keep_mtime: bool = False) -> None:
        """Replace a text in a file, in place."""
        path = self.folder / name
        was, text = path.stat(), path.read_text()
        assert old in text, (name, old)
        path.write_text(text.replace(old, new))
        if keep_mtime:
            os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))

    def library(self, folder: str, value: int) -> None:
        """A static library libfactor.a whose function gives that value."""
        source = self.write(f"{folder}/factor.cc", f'extern "C" int factor() {{ return {value}; }}')
        quiet = {"cwd": source.parent, "check": True}
        subprocess.run(["g++", "-O2", "-fPIC", "-c", "factor.cc"], **quiet)
        subprocess.run(["ar", "rcsD", "libfactor.a", "factor.o"], **quiet)

    def move(self) -> None:
        """Go on in a copy of the sources, in a folder with another name at another depth."""
        new = self.folder.parent / "elsewhere" / "another checkout"
        shutil.copytree(self.folder, new, ignore=shutil.ignore_patterns("build"))
        self.folder = new

    def rows(self) -> list[dict[str, str]]:
        """The rows of its configuration."""
        with open(self.folder / "demo" / "rows.csv", newline="") as stream:
            return list(csv.DictReader(stream))

    def compiles(self) -> Iterator[tuple[str, str, list[str]]]:
        """Object, source and words of each compile, as a build tool would call it in the folder."""
        for row in self.rows():
            macros = [f"-D{name}={value}" for name, value in row.items()]
            folders = [f"-I{name}" for name in INCLUDE_DIRS]
            for source in SOURCES:
                built = f"build/{label(row)}/{Path(source).stem}.o"
                yield built, source, [*FLAGS, *folders, *macros, *map(_plain, self.flags)]

    def links(self) -> Iterator[tuple[str, list[str], list[str]]]:
        """Library, objects and further words of each link."""
        for row in self.rows():
            objects = [f"build/{label(row)}/{Path(source).stem}.o" for source in SOURCES]
            yield f"build/{label(row)}.so", objects, list(map(_plain, self.link_flags))

    def run(
        self, command: list[str], env: Mapping[str, str], check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in the folder, on the machine that it stands on. Raises SystemExit."""
        done = subprocess.run(
            command, cwd=self.folder, env={**os.environ, **self.env, **env},
            capture_output=True, text=True, timeout=300, preexec_fn=self._settle,
        )  # fmt: skip
        if check and done.returncode:
            raise SystemExit(f"{' '.join(command)} failed\n{done.stdout}\n{done.stderr}")
        return done

    def _settle(self) -> None:
        if self.machine is not None:
            resource.setrlimit(MACHINE, (self.machine, resource.getrlimit(MACHINE)[1]))


def label(row: Mapping[str, str]) -> str:
    """A row as a file name: it does not depend on the order of rows."""
    return "-".join(f"{name}{value}" for name, value in sorted(row.items()))


def _plain(flag: str) -> str:
    return flag.replace("{project}/", "")
