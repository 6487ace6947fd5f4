"""The same, with the real compiler: what must come out is what it made of an empty cache."""

import shutil
from pathlib import Path

from tests.property.truth.engine import Engine, Name
from tests.property.truth.harness import NAMES, Harness, shipped
from tests.property.truth.oracle import Expected, Outlook
from tests.property.truth.project import COMPILED, Declared, Site

DECLARED = Declared(kernels=("scale", "blend"), rows=((1, "a"),), library=False)
NOT_HERE = frozenset(
    {
        "swap the compiler for one of equal size and mtime",
        "the same compiler elsewhere",
        "the compiler runs while somebody edits",
        "change the library",
        "add a library earlier, or take it away",
    }
)
"""Edits that need a compiler or a library of ours."""
GCC_NAMES = tuple(name for name in NAMES if name not in NOT_HERE)


def gcc_site(root: Path) -> Site:
    """A site for the real compiler; nothing of it needs Python."""
    return Site(root, None, DECLARED)


class WithGcc(Harness):
    """`truth` holds the bytes of each state that some clean build has met."""

    def __init__(self, site: Site, engine: Engine, truth: dict[object, bytes]) -> None:
        self._truth = truth
        super().__init__(site, engine)

    def _compare(self, outlook: Outlook) -> None:
        compiled = {n: e for n, e in outlook.variants.items() if n[0] in COMPILED}
        if any((name, each.state) not in self._truth for name, each in compiled.items()):
            self._learn(compiled)
        super()._compare(outlook)

    def _learn(self, compiled: dict[Name, Expected]) -> None:
        self.tally.clean += 1
        clean = self.clean_site()
        try:
            built = self._engine.build(clean, clean.root / "empty-cache")
            assert not built.failed, built.told
            found = shipped(clean)
            for name, each in compiled.items():
                young = self._truth.setdefault((name, each.state), found[name])
                assert young == found[name], f"{name}: the oracle takes two states for one"
        finally:
            shutil.rmtree(clean.root / "clean")
            shutil.rmtree(clean.root / "empty-cache", ignore_errors=True)

    def expected(self, name: Name, expected: Expected) -> bytes | None:
        return self._truth.get((name, expected.state), expected.text)
