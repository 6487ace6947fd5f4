"""The tools, each in the configuration that it comes with, behind one face.

`build` builds a tree and says how many compilers (or linkers) ran; `clean` builds it with nothing
remembered, in the same place; `outputs` are the bytes that are there.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from truth.tree import INCLUDE_DIRS, SOURCES, Tree, label

CHECKOUT = Path(__file__).resolve().parents[2]
Outputs = dict[str, bytes]


class Tool(Protocol):
    """What is asked of each."""

    name: str
    links: bool
    """Whether it decides on links, too."""

    def version(self) -> str: ...

    def build(self, tree: Tree, memory: Path) -> int: ...

    def clean(self, tree: Tree, memory: Path) -> None: ...

    def outputs(self, tree: Tree) -> Outputs: ...


class _Launcher:
    """What is put before each compile; it is called for every object, as after a new checkout."""

    links = False

    def __init__(self, program: str, name: str, env: Mapping[str, str]) -> None:
        self.name, self._program, self._env = name, program, dict(env)

    def version(self) -> str:
        told = subprocess.run([self._program, "--version"], capture_output=True, text=True)
        return told.stdout.splitlines()[0].replace(" version", "")

    def outputs(self, tree: Tree) -> Outputs:
        return {built: (tree.folder / built).read_bytes() for built, _, _ in tree.compiles()}

    def clean(self, tree: Tree, memory: Path) -> None:
        shutil.rmtree(tree.folder / "build")
        self._compile(tree, [], {})

    def _compile(self, tree: Tree, launcher: list[str], env: Mapping[str, str]) -> int:
        calls = 0
        for built, source, words in tree.compiles():
            (tree.folder / built).parent.mkdir(parents=True, exist_ok=True)
            depfile = ["-MD", "-MF", f"{built}.d"]  # As build tools ask for; depend_mode needs it.
            command = [*launcher, tree.compiler, *words, *depfile, "-c", source, "-o", built]
            tree.run(command, env)
            calls += 1
        return calls


class Ccache(_Launcher):
    """Its counters say what was found."""

    def build(self, tree: Tree, memory: Path) -> int:
        nowhere = str(memory / "none.conf")
        env = {"CCACHE_DIR": str(memory), "CCACHE_CONFIGPATH": nowhere, **self._env}
        tree.run([self._program, "--zero-stats"], env)
        calls = self._compile(tree, [self._program], env)
        told = tree.run([self._program, "--print-stats"], env).stdout
        counts = dict(line.split("\t") for line in told.splitlines())
        return calls - int(counts["direct_cache_hit"]) - int(counts["preprocessed_cache_hit"])


class Sccache(_Launcher):
    """A server for each build: its counters, and the machine that it is on, are that build's."""

    def build(self, tree: Tree, memory: Path) -> int:
        memory.mkdir(parents=True, exist_ok=True)
        env = {
            "SCCACHE_DIR": str(memory),
            "SCCACHE_SERVER_UDS": str(memory / "s"),
            "SCCACHE_CONF": str(memory / "none.conf"),
            **self._env,
        }
        tree.run([self._program, "--start-server"], env)
        try:
            calls = self._compile(tree, [self._program], env)
            told = tree.run([self._program, "--show-stats", "--stats-format=json"], env).stdout
        finally:
            tree.run([self._program, "--stop-server"], env, check=False)
        return calls - sum(json.loads(told)["stats"]["cache_hits"]["counts"].values())


class Ninja:
    """With depfiles, as CMake, Meson and torch's BuildExtension write them; it has no cache."""

    name, links = "ninja", True

    def __init__(self, program: str) -> None:
        self._program = program

    def version(self) -> str:
        told = subprocess.run([self._program, "--version"], capture_output=True, text=True)
        return f"ninja {told.stdout.strip()}"

    def build(self, tree: Tree, memory: Path) -> int:
        tree.write("build/build.ninja", _rules(tree))
        told = tree.run([self._program, "-v", "-f", "build/build.ninja"], {}).stdout
        return sum(line.startswith("[") for line in told.splitlines())

    def clean(self, tree: Tree, memory: Path) -> None:
        shutil.rmtree(tree.folder / "build")
        self.build(tree, memory)

    def outputs(self, tree: Tree) -> Outputs:
        names = [built for built, *_ in (*tree.compiles(), *tree.links())]
        return {name: (tree.folder / name).read_bytes() for name in names}


def _rules(tree: Tree) -> str:
    compiler = tree.compiler.replace(" ", "\\ ")
    lines = [
        "rule cxx",
        f"  command = {compiler} $words -MD -MF $out.d -c $in -o $out",
        "  deps = gcc",
        "  depfile = $out.d",
        "rule link",
        f"  command = {compiler} -shared $in -o $out $words",
    ]
    for built, source, words in tree.compiles():
        lines += [f"build {built}: cxx {source}", f"  words = {' '.join(words)}"]
    for built, objects, words in tree.links():
        lines += [f"build {built}: link {' '.join(objects)}", f"  words = {' '.join(words)}"]
    return "\n".join(lines) + "\n"


class Ours:
    """`aot-build build`, a process a build."""

    links = True

    def __init__(self, name: str, env: Mapping[str, str]) -> None:
        self.name, self._env = name, dict(env)

    def version(self) -> str:
        words = [sys.executable, "-m", "aot_build", "--version"]
        told = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True)
        return told.stdout.strip().replace("aot-build", "aot_build")

    def build(self, tree: Tree, memory: Path) -> int:
        tree.write("pyproject.toml", _declared(tree))
        env = {
            "AOT_BUILD_CACHE_DIR": str(memory),
            "CXX": tree.compiler,
            "PYTHONPATH": str(CHECKOUT),
            **self._env,
        }
        command = [sys.executable, "-m", "aot_build", "build", "--json"]
        told = tree.run(command, env).stdout
        return int(json.loads(told.splitlines()[-1])["executed"])

    def clean(self, tree: Tree, memory: Path) -> None:
        shutil.rmtree(tree.folder / "build")
        self.build(tree, memory.with_name(f"{memory.name}-none"))

    def outputs(self, tree: Tree) -> Outputs:
        folder = tree.folder / "build" / "aot" / "demo" / "_aot"
        manifest = json.loads((folder / "manifest.json").read_text())
        found = {}
        for variant in manifest["kernels"]["demo"]["variants"]:
            row = {name: str(value) for name, value in variant["row"].items()}
            (file,) = variant["files"].values()
            found[label(row)] = (folder / file["path"]).read_bytes()
        return found


def _declared(tree: Tree) -> str:
    # Lists of strings are the same in JSON and TOML.
    lists = {
        "source": SOURCES,
        "include-dirs": INCLUDE_DIRS,
        "configs": ["demo/rows.csv"],
        "flags": tree.flags,
        "link-flags": tree.link_flags,
    }
    lines = ['[tool.aot-build]\npackage = "demo"\ntargets = ["cpu"]']
    lines += ['[[tool.aot-build.kernels]]\nname = "demo"\nbackend = "cpp"']
    lines += [f"{name} = {json.dumps(list(value))}" for name, value in lists.items()]
    return "\n".join(lines) + "\n"
