"""Whether what an action read held while it was read."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aot_build.core.roles import Roles
from aot_build.core.trace import Trace, by_folder
from aot_build.core.trespass import READS, RUNS, Trespass
from aot_build.evidence import SHOWN, inputs_held, tell_trespasses
from aot_build.files import StatIndex, stamp_ns
from aot_build.graph.closure import ClosureReader


class Space:
    """As much of a workspace as is asked."""

    def __init__(self, folder: Path) -> None:
        self.roles = Roles({"project": str(folder)})
        self.index = StatIndex()
        self.closures = ClosureReader(self.roles, self.index, lambda name, used: "", {})
        self.settings = SimpleNamespace(strict=False, project=folder)
        self.edited: set[str] = set()
        self.trespasses: set[tuple[str, Trespass]] = set()
        self.told: list[str] = []

    def emit(self, event: Any) -> None:
        self.told.append(event.text)

    def held(self, trace: Trace, since_ns: int) -> bool:
        return inputs_held(self, SimpleNamespace(inputs=()), trace, since_ns)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.h").write_text(name)
    (tmp_path / "inc").symlink_to("one")
    (tmp_path / "a.h").symlink_to("one/a.h")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "round").symlink_to("round")
    return tmp_path


@pytest.fixture
def space(folder: Path) -> Space:
    return Space(folder)


def _began() -> int:
    """A time that all files so far are older than, and all from here on are not."""
    began = time.time_ns()
    while stamp_ns() <= began:
        time.sleep(0.001)
    return stamp_ns()


def _retarget(link: Path, leads: str) -> None:
    link.unlink()
    link.symlink_to(leads)


def _swap(folder: Path) -> None:
    os.rename(folder / "one", folder / "three")
    os.rename(folder / "two", folder / "one")


READ = Trace(files=("{project}/one/a.h",))
LOOKED_AT = Trace(present=("{project}/one/a.h",))
LISTED = Trace(listings=("{project}/one",))
MISSED = Trace(absent=by_folder([("{project}", "b.h")]))
BY_LINK = Trace(files=("{project}/a.h",))
BY_FOLDER = Trace(files=("{project}/inc/a.h",))
LINK = Trace(present=("{project}/a.h",))


@pytest.mark.parametrize(
    ("trace", "edit"),
    [
        (READ, lambda f: (f / "one/a.h").write_text("edited")),
        (READ, lambda f: (f / "one/a.h").unlink()),
        (READ, _swap),
        (LOOKED_AT, lambda f: (f / "one/a.h").write_text("edited")),
        (LOOKED_AT, lambda f: (f / "one/a.h").unlink()),
        (LISTED, lambda f: (f / "one/new").touch()),
        (LISTED, _swap),
        (MISSED, lambda f: (f / "b.h").touch()),
        (MISSED, lambda f: (f / "b.h").symlink_to("gone")),
        (BY_LINK, lambda f: _retarget(f / "a.h", "two/a.h")),
        (BY_FOLDER, lambda f: _retarget(f / "inc", "two")),
        (LINK, lambda f: _retarget(f / "a.h", "two/a.h")),
        (LINK, lambda f: (f / "one/a.h").unlink()),
    ],
)  # fmt: skip
def test_an_edit_meanwhile_is_seen_and_told_once(
    space: Space, folder: Path, trace: Trace, edit: Callable[[Path], object]
) -> None:
    began = _began()
    assert space.held(trace, began)
    edit(folder)
    assert not space.held(trace, began) and not space.held(trace, began)
    assert space.told and all("was edited during the build" in text for text in space.told)
    assert len(space.told) == len(set(space.told)) == len(space.edited)


@pytest.mark.parametrize(
    ("trace", "edit"),
    [
        (LOOKED_AT, lambda f: (f / "one/b.h").touch()),
        (READ, lambda f: (f / "one/b.h").touch()),
        (Trace(present=("{project}/one",)), lambda f: (f / "one/b.h").touch()),
        (Trace(present=("{project}/nowhere",), absent=by_folder([("{project}", "gone")])),
         lambda f: (f / "b.h").touch()),
        (Trace(present=("{project}/round",)), lambda f: (f / "b.h").touch()),
    ],
)  # fmt: skip
def test_what_nobody_asked_may_change_meanwhile(
    space: Space, folder: Path, trace: Trace, edit: Callable[[Path], object]
) -> None:
    began = _began()
    edit(folder)
    assert space.held(trace, began), space.told


def test_each_trespass_is_told_once(space: Any) -> None:
    found = (Trespass(READS, "/traced/a.h"), Trespass(RUNS, "/bin/x"))
    assert tell_trespasses(space, "scale", found) is tell_trespasses(space, "scale", found) is None
    assert space.told == [
        "scale reads /traced/a.h, outside of the project and its toolchain",
        "scale runs /bin/x, which cannot be traced",
    ]
    assert tell_trespasses(space, "other", found[:1]) is None and len(space.told) == 3


def test_where_settings_are_strict_it_fails_with_all_of_them(space: Any) -> None:
    space.settings.strict = True
    assert tell_trespasses(space, "scale", ()) is None
    many = [Trespass(READS, f"/{n}") for n in range(SHOWN + 2)]
    failure = tell_trespasses(space, "scale", many)
    assert failure is not None and failure.outcome == "error" and not space.told
    assert f"reads /{SHOWN - 1}\n  and 2 more\nhint: " in failure.reason
