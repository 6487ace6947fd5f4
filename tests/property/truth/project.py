"""The project that edits happen to, what it declares, and the world that it is built in."""

import dataclasses
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tests.property.truth.recorder import Recorder, install

SOURCE = """\
#include "h0.h"
#include <h1.h>
#if __has_include("extra.h")
#include "extra.h"
#endif
extern "C" int NAME() { return H0 + H1 + N + VALUE; }
"""
MIX = '#include "h2.h"\nint mix() { return H2; }\n'
GENERATE = """\
import os
import subprocess
from pathlib import Path

from demo import settings
from demo.pieces import first

try:
    from demo.tuned import TUNED
except ImportError:
    TUNED = "none"

HERE = Path(__file__).parent


def table(out_dir, target, n):
    option = HERE / "option"
    kind = "folder" if option.is_dir() else "file" if option.exists() else "none"
    said = [
        f"table {target} {n} {settings.VALUE} {first.VALUE} {TUNED}",
        f"text {(HERE / 'table.txt').read_text()!r}",
        f"parts {sorted(os.listdir(HERE / 'parts'))}",
        f"option {kind}",
        f"flavour {os.environ.get('DEMO_FLAVOUR')}",
    ]
    Path(out_dir, "table.txt").write_text("\\n".join(said))


def child(out_dir, target, n):
    words = ["/bin/cat", str(HERE / "child.txt")]
    said = subprocess.run(words, capture_output=True, text=True)
    Path(out_dir, "child.txt").write_text(f"child {n} {said.returncode} {said.stdout!r}")
"""
ROWS = """\
from pathlib import Path


def rows(targets):
    for line in (Path(__file__).parent / "rows.txt").read_text().split():
        yield {"n": int(line)}
"""
FILES = {
    "demo/__init__.py": "",
    "demo/scale.cpp": SOURCE.replace("NAME", "scale").replace("VALUE", "1"),
    "demo/blend.cpp": SOURCE.replace("NAME", "blend").replace("VALUE", "2"),
    "demo/mix.cpp": MIX,
    "demo/first/.keep": "",
    "demo/include/h0.h": "#define H0 1\n",
    "demo/include/h1.h": "#define H1 2\n",
    "demo/include/h2.h": "#define H2 3\n",
    "demo/last/h3.h": "#define H3 4\n",
    "demo/last/h2.h": "#define H2 5\n",
    "demo/outside/h1.h": "#define H1 6\n",
    "demo/outside/h4.h": "#define H4 6\n",
    "demo/lib/libmix.a": "archive 1\n",
    "demo/lib_first/.keep": "",
    "demo/generate.py": GENERATE,
    "demo/rows.py": ROWS,
    "demo/rows.txt": "1 2\n",
    "demo/settings.py": "VALUE = 3\n",
    "demo/pieces/__init__.py": "",
    "demo/pieces/first.py": "VALUE = 4\n",
    "demo/table.txt": "table 1\n",
    "demo/parts/one": "",
    "demo/child.txt": "child 1\n",
}
COMPILED = ("scale", "blend")
CALLED = ("table", "child")


@dataclass(frozen=True)
class Declared:
    """What pyproject.toml says; `order` shuffles its tables, keys and rows and nothing else."""

    targets: tuple[str, ...] = ("cpu", "cpu:x86-64-v3")
    mode: str = "release"
    include_dirs: tuple[str, ...] = ("demo/first", "demo/include", "demo/last")
    flags: tuple[str, ...] = ()
    rows: tuple[tuple[int, str], ...] = ((1, "a"), (2, "b"))
    """N and T of each row of `scale`."""
    inline: bool = False
    """Whether these rows stand in pyproject.toml rather than in a file beside it."""
    kernels: tuple[str, ...] = ("scale", "blend", "table", "child")
    library: bool = True
    order: int = 0

    def turned(self, items: list[str]) -> list[str]:
        """The same in another order."""
        by = self.order % len(items) if items else 0
        turned = items[by:] + items[:by]
        return turned[::-1] if self.order % 2 else turned

    def text(self) -> str:
        """pyproject.toml."""
        top = self.turned(
            ['package = "demo"', f"targets = {list(self.targets)}", f'mode = "{self.mode}"']
        )
        tables = [self._kernel(name) for name in self.turned(list(self.kernels))]
        return "\n".join(["[tool.aot-build]", *top, *tables, ""])

    def csv(self) -> str:
        """The config file of `scale`."""
        rows = self.turned([f"{n},{t}" for n, t in self.rows])
        if self.order % 3 == 1:
            return "\n".join(["T,N", *(",".join(row.split(",")[::-1]) for row in rows), ""])
        return "\n".join(["N,T", *rows, ""])

    def _kernel(self, name: str) -> str:
        keys = {"scale": self._scale, "blend": self._blend}.get(name)
        lines = keys() if keys else self._call(name)
        return "\n".join(["", "[[tool.aot-build.kernels]]", *self.turned(lines)])

    def _scale(self) -> list[str]:
        rows = self.turned([f'{{ N = {n}, T = "{t}" }}' for n, t in self.rows])
        configs = f"[{', '.join(rows)}]" if self.inline else '["demo/scale.csv"]'
        return [
            'name = "scale"', 'backend = "cpp"', 'source = "demo/scale.cpp"',
            f"configs = {configs}", f"include-dirs = {list(self.include_dirs)}",
            f"flags = {list(self.flags)}",
        ]  # fmt: skip

    def _blend(self) -> list[str]:
        folders = ["-L{project}/demo/lib_first", "-L{project}/demo/lib", "-lmix"]
        return [
            'name = "blend"', 'backend = "cpp"', 'source = ["demo/blend.cpp", "demo/mix.cpp"]',
            "configs = [{ N = 7 }]", 'targets = ["cpu"]',
            f"include-dirs = {list(self.include_dirs)}",
            *([f"link-flags = {folders}"] if self.library else []),
        ]  # fmt: skip

    def _call(self, name: str) -> list[str]:
        configs = '["demo.rows:rows"]' if name == "table" else "[{ n = 5 }]"
        return [
            f'name = "{name}"', 'backend = "python"', f'source = "demo.generate:{name}"',
            f"configs = {configs}", 'targets = ["cpu"]',
        ]  # fmt: skip


@dataclass
class Site:
    """One project and its world. Whoever edits it edits the disk: there is no other model."""

    root: Path
    recorder: Recorder | None
    """None: the real compiler."""
    declared: Declared = field(default_factory=Declared)
    project: Path = field(init=False)
    env: dict[str, str] = field(default_factory=dict)
    """On top of a fixed environment; what compilers and workers may see, and what they must not."""
    compiler: str = "cxx"
    identity: int = 0
    jobs: int = 2
    seed: str = "0"
    umask: int = 0o022
    kept: list[dict[str, bytes | None]] = field(default_factory=list)
    """Checkouts that were put by: files, with the declaration that goes along."""
    kept_declared: list[Declared] = field(default_factory=list)
    copies: int = 0
    files: dict[str, str] = field(default_factory=lambda: dict(FILES))

    def __post_init__(self) -> None:
        self.project = self.root / "here" / "p0"
        for name, text in self.files.items():
            self.write(name, text)
        for name in ("cxx", "other"):
            if self.recorder is not None:
                install(self.recorder, self.identity, self.root / name)
        self.declare()

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def path(self, name: str) -> Path:
        return self.project / name

    def write(self, name: str, text: str) -> None:
        """Write a file, whatever stands in its way."""
        path = self.path(name)
        for folder in reversed(path.relative_to(self.project).parents):
            place = self.project / folder
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                place.unlink()
            place.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
        path.write_text(text)

    def remove(self, name: str) -> None:
        path = self.path(name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def declare(self, **changed: object) -> None:
        """Change what is declared."""
        self.declared = dataclasses.replace(self.declared, **changed)  # type: ignore[arg-type]
        self.write("pyproject.toml", self.declared.text())
        self.write("demo/scale.csv", self.declared.csv())

    def environment(self) -> dict[str, str]:
        """The whole environment of a build."""
        home, cache = str(self.root), str(self.cache)
        fixed = {"PATH": os.environ["PATH"], "HOME": home, "AOT_BUILD_CACHE_DIR": cache}
        fixed["AOT_BUILD_JOBS"] = str(self.jobs)
        if self.recorder is not None:
            fixed["CXX"] = str(self.root / self.compiler)
        place = str(self.project)
        return fixed | {n: v.replace("{project}", place) for n, v in self.env.items()}
