"""Whether an action runs, and why: each reason has a test."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from aot_build.core.action import Action
from aot_build.core.record import Record
from aot_build.core.result import ActionResult
from aot_build.core.trace import Trace
from aot_build.core.trespass import Trespass
from aot_build.graph.keys import action_key
from aot_build.graph.rebuilder import Rebuilder
from aot_build.store.memory import MemoryStore

TRACE = Trace(files=("{project}/a.h",), absent=(("{project}", ("early/a.h",)),), env=("DEMO",))


class Builds:
    """One cache, one project, one build log of one variant."""

    def __init__(self, project: Any) -> None:
        self.store = MemoryStore()
        self.project = project
        self.last: Record | None = None

    def probe(self, action: Action) -> str:
        """`hit`, or the reason of the miss."""
        decision = Rebuilder(self.store, self.project.reader()).probe(action, self.last)
        assert (decision.result is None) == (decision.trace is None) != (decision.miss is None)
        return str(decision.miss) if decision.miss else "hit"

    def build(self, action: Action, trace: Trace = TRACE) -> str:
        """Probe, run if need be, publish, log: as a build does. Gives the decision."""
        rebuilder = Rebuilder(self.store, self.project.reader())
        decision = rebuilder.probe(action, self.last)
        if decision.miss is not None:
            key = action_key(action, self.project.reader().closure(trace))
            self.store.publish(decision.base_key, trace, key, ActionResult(()), Path())
        seen = trace if decision.trace is None else decision.trace
        self.last = rebuilder.record(decision, seen, self.last, 1.0)
        return self.last.decision


@pytest.fixture
def builds(project: Any) -> Builds:
    project.write("a.h", "one")
    return Builds(project)


def test_nothing_changed(builds: Builds, action: Action) -> None:
    assert builds.build(action) == "never built here"
    assert builds.build(action) == "hit"
    assert builds.last is not None and builds.last.built == "never built here"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mode": "debug"}, "mode: release -> debug"),
        ({"toolchain": "2" * 32}, f"toolchain: {'1' * 12} -> {'2' * 12}"),
        ({"target": "cpu:x86-64-v3"}, "target: cpu -> cpu:x86-64-v3"),
        ({"salt": "new"}, "salt: '' -> new"),
        ({"env": (("CPATH", "/x"),)}, "env CPATH: - -> /x"),
        ({"params": (("row", (("BLOCK", 128), ("T", "float"))),)}, "row BLOCK: 64 -> 128"),
        (
            {"inputs": (("{project}/a.cpp", "f" * 32),)},
            f"source {{project}}/a.cpp: {'0' * 12} -> {'f' * 12}",
        ),
        ({"outputs": ("*.so",)}, "outputs: [] -> [*.so]"),
    ],
)
def test_a_changed_part_is_named(
    builds: Builds, action: Action, change: dict[str, Any], reason: str
) -> None:
    builds.build(action)
    assert builds.build(dataclasses.replace(action, **change)) == reason
    assert builds.build(dataclasses.replace(action, **change)) == "hit"


def test_an_edited_header_is_named(builds: Builds, action: Action) -> None:
    builds.build(action)
    builds.project.write("a.h", "two")
    reason = builds.build(action)
    assert reason.startswith("file {project}/a.h: ") and "absent" not in reason


def test_a_header_that_appears_earlier_is_named(builds: Builds, action: Action) -> None:
    builds.build(action)
    builds.project.write("early/a.h", "other")
    assert builds.build(action) == "absent {project}/early/a.h: absent -> present"


def test_a_header_that_went_away_is_named(builds: Builds, action: Action) -> None:
    builds.build(action)
    (builds.project.folder / "a.h").unlink()
    assert builds.probe(action).endswith(" -> absent")


@pytest.mark.parametrize(
    ("category", "name", "reason"),
    [
        ("env", "DEMO", "env DEMO: absent -> 1"),
        ("distributions", "torch", "distribution torch: absent -> 2.0"),
    ],
)
def test_surroundings_are_named(
    builds: Builds, action: Action, category: str, name: str, reason: str
) -> None:
    asked = (name, ()) if category == "distributions" else name
    trace = dataclasses.replace(Trace(), **{category: (asked,)})
    builds.build(action, trace)
    builds.project.env["DEMO"] = "1"
    builds.project.installed["torch"] = "2.0"
    assert builds.build(action, trace) == reason


@pytest.mark.parametrize("kind", ["listings", "modules"])
def test_listings_and_modules_are_named(builds: Builds, action: Action, kind: str) -> None:
    builds.project.write("code/m.py", "x = 1")
    place = "{project}/code" if kind == "listings" else "{project}/code/m.py"
    trace = dataclasses.replace(Trace(), **{kind: (place,)})
    builds.build(action, trace)
    builds.project.write("code/m.py" if kind == "modules" else "code/n.py", "x = 2")
    assert builds.build(action, trace).startswith(f"{kind[:-1]} {place}: ")


def test_an_emptied_cache_is_named(builds: Builds, action: Action) -> None:
    builds.build(action)
    builds.store = MemoryStore()
    assert builds.build(action) == "not in the cache"


def test_a_cache_of_others_with_another_header(builds: Builds, action: Action) -> None:
    builds.build(action)
    builds.last = None
    builds.project.write("a.h", "mine")
    assert builds.probe(action).startswith("never built here, and in the cache for other")


def test_an_edit_taken_back_is_a_hit(builds: Builds, action: Action) -> None:
    builds.build(action)
    builds.project.write("a.h", "two")
    assert builds.build(action) != "hit"
    builds.project.write("a.h", "one")
    assert builds.build(action) == "hit"


def test_several_traces_under_one_base_key(builds: Builds, action: Action) -> None:
    """A header that decides what else is included: each state has a trace of its own."""
    with_b = Trace(files=("{project}/a.h", "{project}/b.h"))
    builds.build(action)
    builds.project.write("a.h", '#include "b.h"')
    builds.project.write("b.h", "b")
    builds.build(action, with_b)
    assert len(builds.store.traces(action_key(action))) == 2
    assert builds.probe(action) == "hit"
    builds.project.write("a.h", "one")
    builds.project.write("b.h", "nobody reads this now")
    assert builds.probe(action) == "hit"


def test_a_lost_trace_is_passed_over(builds: Builds, action: Action) -> None:
    builds.build(action)
    builds.build(action, Trace(files=("{project}/b.h",)))
    builds.store._traces.clear()
    assert builds.build(action) == "not in the cache"


def test_behind_a_lost_trace_another_is_found(builds: Builds, action: Action) -> None:
    builds.build(action)
    builds.project.write("a.h", "two")
    builds.build(action, Trace(files=("{project}/b.h",)))
    builds.project.write("a.h", "one")
    (newest, *_) = builds.store.traces(action_key(action))
    del builds.store._traces[newest]
    builds.project.write("b.h", "other")
    assert builds.probe(action) == "hit"


def test_a_trace_that_asks_less_finds_no_result_of_one_that_asks_more(
    builds: Builds, action: Action
) -> None:
    builds.build(action, dataclasses.replace(TRACE, absent=()))
    builds.project.write("a.h", "two")  # From here on it asks for another.
    builds.build(action)
    assert builds.probe(action) == "hit"
    builds.project.write("early/a.h", "other")
    assert builds.probe(action) != "hit"


def test_where_settings_are_strict_a_trespass_is_built_again(
    builds: Builds, action: Action
) -> None:
    key = action_key(action, builds.project.reader().closure(TRACE))
    result = ActionResult((), trespasses=(Trespass("reads", "/etc/hosts"),))
    builds.store.publish(action_key(action), TRACE, key, result, Path())
    assert builds.probe(action) == "hit"
    decision = Rebuilder(builds.store, builds.project.reader(), strict=True).probe(action)
    assert str(decision.miss) == "strict: it reads /etc/hosts" and decision.result is None


def test_what_only_another_trace_asks_has_not_appeared(builds: Builds, action: Action) -> None:
    """The last build's own trace was not kept: a file was edited while it ran."""
    other = dataclasses.replace(TRACE, files=("{project}/a.h", "{project}/b.h"))
    builds.project.write("b.h", "of the other")
    builds.build(action, other)
    one = Rebuilder(builds.store, builds.project.reader())
    builds.last = one.record(one.probe(action), TRACE, None, 1.0)
    builds.project.write("a.h", "two")
    assert builds.probe(action).startswith("file {project}/a.h: ")
    decision = Rebuilder(builds.store, builds.project.reader()).probe(action, builds.last)
    assert decision.miss is not None and len(decision.miss.changes) == 1


def test_equal_work_under_two_names_is_one_entry(builds: Builds, action: Action) -> None:
    builds.build(action)
    builds.last = None
    assert builds.probe(dataclasses.replace(action, kernel="other", label="x")) == "hit"


def test_the_log_never_makes_a_miss(builds: Builds, action: Action) -> None:
    builds.build(action)
    builds.last = Record({"mode": "nonsense"}, {"file x": "y"}, "hit", "", 0.0)
    assert builds.probe(action) == "hit"
