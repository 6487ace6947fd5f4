"""Whether what a snapshot watches notices what would change an answer."""

import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aot_build import snapshot
from aot_build.core.roles import Roles
from aot_build.core.trace import Trace, by_folder
from aot_build.files import RACY_NS, Stat
from aot_build.watch import MANY, _look, _traced_absent

OLD_NS = 10 * RACY_NS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "link").symlink_to("one/file")
    (tmp_path / "nowhere").symlink_to("gone")
    for path in (tmp_path / "one", tmp_path / "two", tmp_path):
        # What is edited within one tick of the clock would leave the same times.
        os.utime(path, (1e9, 1e9))
    return tmp_path


def holds(rows: Iterable[tuple[str, Stat]]) -> Callable[[], bool]:
    """Whether the fast path finds it all as it is now."""
    kept = list(rows)
    paths, numbers = [os.fsencode(path) for path, _ in kept], [row for _, row in kept]
    return lambda: snapshot._inputs_hold(paths, [*itertools.chain.from_iterable(numbers)])


def _point(link: Path, leads: str) -> None:
    link.unlink()
    link.symlink_to(leads)


@pytest.mark.parametrize(
    ("name", "edit", "held"),
    [
        ("one/file", lambda f: (f / "one/other").touch(), True),
        ("one/file", lambda f: (f / "one/file").write_text("longer"), False),
        ("one/file", lambda f: (f / "one/file").unlink(), False),
        ("one", lambda f: (f / "one/other").touch(), True),
        ("one", lambda f: shutil.rmtree(f / "one"), False),
        ("one", lambda f: (shutil.rmtree(f / "one"), (f / "one").touch()), False),
        ("link", lambda f: (f / "one/other").touch(), True),
        ("link", lambda f: (f / "one/file").write_text("longer"), False),
        ("link", lambda f: _point(f / "link", "two/file"), False),
        ("nowhere", lambda f: (f / "one/other").touch(), True),
        ("nowhere", lambda f: (f / "gone").touch(), False),
        ("nowhere", lambda f: _point(f / "nowhere", "two/file"), False),
    ],
)
def test_looks(folder: Path, name: str, edit: Callable[[Path], Any], held: bool) -> None:
    still = holds(_look(str(folder / name)))
    assert still()
    edit(folder)
    assert still() is held


def absent(folder: Path, trace: Trace, began_ns: int) -> list[tuple[str, Stat]]:
    search = os.pathsep.join(str(folder / name) for name in ("one", "two"))
    roles = Roles({"project": str(folder)})
    space: Any = SimpleNamespace(roles=roles, traces=[trace], env={"PATH": search})
    return list(_traced_absent(space, began_ns))


@pytest.mark.parametrize("number", [MANY - 1, MANY])
@pytest.mark.parametrize("young", [True, False])
def test_absences(folder: Path, number: int, young: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    later = 0 if young else OLD_NS
    monkeypatch.setattr("time.time_ns", lambda now=time.time_ns: now() + later)  # type: ignore[misc]
    trace = Trace(absent=by_folder(("{project}/one", f"{n}.h") for n in range(number)))
    rows = absent(folder, trace, time.time_ns())
    at_once = number >= MANY and not young
    assert len(rows) == (1 if at_once else number)
    still = holds(rows)
    assert still()
    (folder / "one" / "unrelated").touch()
    assert still() is not at_once
    (folder / "one" / "3.h").symlink_to("../two/file")
    assert not still()


@pytest.mark.parametrize("where", ["one", "two", ""])
def test_programs(folder: Path, where: str) -> None:
    if where:
        (folder / where / "tool").touch(0o755)
    still = holds(absent(folder, Trace(programs=("tool",)), 0))
    assert still()
    (folder / "two" / "other").touch()
    assert still()
    (folder / "one" / "tool").write_text("other")
    assert not still()
