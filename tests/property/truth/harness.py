"""Edit, build, compare with what must come out, count what need not have run."""

import copy
import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.property.truth import upheavals
from tests.property.truth.edits import EDITS, Edit, choose, header_text, headers
from tests.property.truth.engine import ROWS, Built, Engine, InProcess, Name, manifest_rows
from tests.property.truth.oracle import Expected, Outlook, look_ahead
from tests.property.truth.project import Site

TRACES_KEPT = 8
"""Of one action: a state that is further back than this many others may be forgotten."""
NOT_RESULTS = ("manifest.json", ".py")

assert upheavals.MODES, "its edits are registered"


class Stale(AssertionError):
    """What was built is not what a clean build makes."""


class Needless(AssertionError):
    """Something was built that had been built before."""


@dataclass
class Tally:
    """Of all edits of a run."""

    edits: int = 0
    builds: int = 0
    executed: int = 0
    forgotten: int = 0
    """Executions of what more than TRACES_KEPT other states had displaced."""
    torn: int = 0
    clean: int = 0
    failures: int = 0
    """Builds that had to fail, and did."""
    by_edit: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        for name in ("edits", "builds", "executed", "forgotten", "torn", "clean", "failures"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.by_edit.update(other.by_edit)


class Harness:
    """One site on its way through edits. Raises Stale, Needless."""

    def __init__(self, site: Site, engine: Engine, *, clean_every: int = 0) -> None:
        self.site = site
        self.tally = Tally()
        self._engine = engine
        self._clean_every = clean_every
        self._built: dict[Name | str, dict[object, int]] = {}
        """States whose results the cache holds -> when each was last published."""
        self._shapes: dict[Name | str, dict[object, int]] = {}
        self._texts: dict[object, bytes] = {}
        self._lost: set[str] = set()
        """Digests of outputs that were damaged or removed in the store, until somebody publishes
        the same bytes again."""
        self.check()

    def step(self, edit: Edit) -> Built:
        """Carry an edit out, build, and compare."""
        self.tally.edits += 1
        self.tally.by_edit[edit.name] += 1
        if edit.name in CONCURRENT:
            CONCURRENT[edit.name](self, edit.a, edit.b)
            self.tally.torn += 1
        else:
            edit.carry_out(self.site)
        if edit.name == "lose or damage blobs":
            self._forget_lost()
        return self.check()

    def check(self) -> Built:
        """Build, and compare with what must come out."""
        outlook = look_ahead(self.site)
        built = self.build()
        if outlook.fails or built.failed:
            self._check_failure(outlook, built)
            return built
        self._compare(outlook)
        self._count(outlook, built)
        if self._clean_every and self.tally.builds % self._clean_every == 0:
            self.compare_with_clean()
        return built

    def build(self) -> Built:
        """Build, and believe nothing."""
        self.tally.builds += 1
        return self._engine.build(self.site)

    def _check_failure(self, outlook: Outlook, built: Built) -> None:
        if not built.failed:
            missing = [name for name, each in outlook.variants.items() if each.text is None]
            raise Stale(f"{missing or 'the plan'} cannot be built, and yet the build was done")
        if not outlook.fails:
            raise Stale(f"a clean build succeeds, and this one fails: {built.told}")
        self.tally.failures += 1

    # Never stale

    def _compare(self, outlook: Outlook) -> None:
        found = shipped(self.site)
        if found.keys() != outlook.variants.keys():
            raise Stale(f"variants: {sorted(found)}, not {sorted(outlook.variants)}")
        for name, expected in outlook.variants.items():
            wanted = self.expected(name, expected)
            if found[name] != wanted:
                raise Stale(f"{name}:\n{_shown(found[name])}\nnot\n{_shown(wanted)}")
        places = {place for _, _, _, files in manifest_rows(self.site) for place in _paths(files)}
        extra = {p for p in result_files(self.site) if not p.endswith(NOT_RESULTS)} - places
        if extra:
            raise Stale(f"left over: {sorted(extra)}")

    def expected(self, name: Name, expected: Expected) -> bytes | None:
        """The bytes of an artifact: its text is what the recording compiler writes."""
        return expected.text

    def compare_with_clean(self) -> None:
        """Build a copy into an empty cache: what comes of that is the truth about truth."""
        self.tally.clean += 1
        clean = self.clean_site()
        try:
            built = self._engine.build(clean, clean.root / "empty-cache")
            if built.failed:
                raise Stale(f"the clean build failed: {built.told}")
            ours, theirs = result_files(self.site), result_files(clean)
            differ = {n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n)}
            if differ:
                raise Stale(f"a clean build makes other bytes of {sorted(differ)}")
        finally:
            shutil.rmtree(clean.root / "clean")
            shutil.rmtree(clean.root / "empty-cache", ignore_errors=True)

    def clean_site(self) -> Site:
        """A copy without what builds left."""
        clean = copy.copy(self.site)
        clean.project = self.site.root / "clean" / "p"
        leave = shutil.ignore_patterns("build")
        shutil.copytree(self.site.project, clean.project, symlinks=True, ignore=leave)
        return clean

    # Never needlessly

    def _count(self, outlook: Outlook, built: Built) -> None:
        self.tally.executed += len(built.executed)
        wanted: dict[Name | str, Expected] = {**outlook.variants}
        if outlook.listing is not None:
            wanted[ROWS] = Expected(None, outlook.listing)
        for name in built.executed:
            expected = wanted[name]
            if expected.state in self._built.get(name, {}) and not self._is_lost(name, expected):
                if not self._forgotten(name, expected):
                    raise Needless(f"{name} was built in this very state before")
                self.tally.forgotten += 1
        now = self.tally.builds
        for name, expected in wanted.items():
            known = self._built.setdefault(name, {})
            if name in built.executed or expected.state not in known:
                known[expected.state] = now
                self._shapes.setdefault(name, {})[expected.shape] = now
            shipped = self.expected(name, expected) if isinstance(name, tuple) else None
            if shipped is not None:
                self._texts[expected.state] = shipped
                if name in built.executed:
                    # Whoever publishes the bytes again mends what was damaged.
                    self._lost.discard(_digest(shipped))

    def _forgotten(self, name: Name | str, expected: Expected) -> bool:
        """Whether so many other traces came after the one of this state that it may be gone."""
        shapes = self._shapes[name]
        since = shapes.get(expected.shape, 0)
        return sum(when > since for when in shapes.values()) >= TRACES_KEPT

    def _is_lost(self, name: Name | str, expected: Expected) -> bool:
        shipped = self.expected(name, expected) if isinstance(name, tuple) else None
        return (ROWS if shipped is None else _digest(shipped)) in self._lost

    def _forget_lost(self) -> None:
        """What the store has lost has to be built again."""
        blobs = (self.site.cache / "cas-v1").rglob("*")
        whole = {p.name for p in blobs if p.is_file() and _digest(p.read_bytes()) == p.name}
        self._lost |= {_digest(text) for text in self._texts.values()} - whole | {ROWS}


# While the build runs


def _compiler_edits(harness: Harness, a: int, b: int) -> None:
    site, recorder = harness.site, harness.site.recorder
    found = headers(site)
    if recorder is None or not found:
        return
    path = site.path(choose(found, a))
    recorder.play_the_user("el"[b % 2], path, header_text(path.name, a + b))
    site.write("demo/scale.cpp", site.path("demo/scale.cpp").read_text() + "//\n")
    harness.build()
    recorder.control.unlink(missing_ok=True)


def _edit_before_the_end(harness: Harness, a: int, b: int) -> None:
    site, engine = harness.site, harness._engine
    if not isinstance(engine, InProcess):
        return
    names = ("change a header", "change a file that Python reads", "change a module",
             "add a header earlier on the path", "add to a listed folder, or take away",
             "change the rows that a function lists", "change a source")  # fmt: skip
    later = Edit(choose(names, a), b, a + b)
    EDITS[choose(("change a module", "change a source"), b)](site, a, a + b + 1)
    engine.during_next(lambda: later.carry_out(site))
    harness.build()
    engine.finish()


CONCURRENT: dict[str, Callable[[Harness, int, int], None]] = {
    "the compiler runs while somebody edits": _compiler_edits,
    "a job has ended and somebody edits": _edit_before_the_end,
}
"""Edits while a build runs: what that build leaves is for the next one to put right."""
NAMES = (*EDITS, *CONCURRENT)


def run(harness: Harness, edits: Iterable[Edit]) -> None:
    for edit in edits:
        harness.step(edit)


def shipped(site: Site) -> dict[Name, bytes]:
    """The bytes of each variant's only artifact."""
    result = site.project / "build" / "aot" / "demo" / "_aot"
    found = {}
    for kernel, target, row, files in manifest_rows(site):
        (place,) = _paths(files)
        found[kernel, target, row] = (result / place).read_bytes()
    return found


def result_files(site: Site) -> dict[str, bytes]:
    """Relative name -> bytes of all that was built."""
    result: Path = site.project / "build" / "aot" / "demo" / "_aot"
    files = (path for path in result.rglob("*") if path.is_file())
    return {path.relative_to(result).as_posix(): path.read_bytes() for path in files}


def _paths(files: dict[str, dict[str, str]]) -> list[str]:
    return [each["path"] for each in files.values()]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _shown(content: bytes | None) -> str:
    return "nothing" if content is None else content.decode(errors="replace")
