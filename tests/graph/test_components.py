"""What a key is made of, as people read it; no two values read the same."""

import dataclasses
import itertools
import json
from typing import Any

import pytest

from aot_build.core.action import Action
from aot_build.core.record import Record
from aot_build.core.result import DAMAGED, FAMILIES, VERIFIED
from aot_build.core.toolchain import Toolchain
from aot_build.graph.components import changes_of_answers, changes_of_parts, components, flatten
from aot_build.graph.keys import Closure, action_key
from aot_build.graph.rebuilder import EVICTED, NEVER_BUILT, OTHER_INPUTS, Rebuilder, Surroundings
from aot_build.store.memory import MemoryStore

VALUES = (1, 1.0, True, False, None, "1", "1.0", "true", "none", "", " ", "a", "-1", -1, (), (1,),
          ("1",), ("1, 2",), (1, 2), "[1]", "'a'", "nan", float("nan"), "x" * 500, "x" * 501,
          ("a", "b"), "{", "{}")  # fmt: skip


def test_no_two_values_read_the_same(action: Action) -> None:
    for name in ("row", "standard"):
        texts = []
        for value in VALUES:
            params = ((name, (("A", value),)),) if name == "row" else ((name, value),)
            texts.append(components(dataclasses.replace(action, params=params)))
        for (one, this), (two, that) in itertools.combinations(zip(VALUES, texts, strict=True), 2):
            assert this != that, (one, two)


def test_objects_are_told_by_member(action: Action) -> None:
    def launch(warps: int) -> Action:
        text = json.dumps({"options": {"num_warps": warps, "deep": {"x": [1]}}, "function": "f"})
        return dataclasses.replace(action, params=(("launch", text),))

    parts = components(launch(4))
    assert parts["param launch.options.num_warps"] == "4"
    assert parts["param launch.options.deep"] == '{"x": [1]}'
    (change,) = changes_of_parts(parts, components(launch(8)))
    assert str(change) == "param launch.options.num_warps: 4 -> 8"


@pytest.mark.parametrize(
    ("was", "now", "shown"),
    [
        (("-O2", "-g"), ("-O3", "-g"), ("-O2", "-O3")),
        (("-g",), ("-g", "-Wall"), ("", "-Wall")),
        (("-a", "-b"), ("-b", "-a"), ("-a -b", "-b -a")),
        (("-DX=a b",), (), ("'-DX=a b'", "")),
        (("-a",), ("-a", "-a"), ("-a", "-a -a")),
    ],
)
def test_flags_are_told_by_word(
    action: Action, was: tuple[str, ...], now: tuple[str, ...], shown: tuple[str, str]
) -> None:
    one, two = (
        components(dataclasses.replace(action, params=(("flags", words),))) for words in (was, now)
    )
    (change,) = changes_of_parts(one, two)
    assert (change.family, change.was, change.now) == ("flags", *shown)


def test_another_order_of_sources_is_told(action: Action) -> None:
    inputs = (("{project}/a.cpp", "0" * 32), ("{project}/b.cpp", "1" * 32))
    one, two = (
        components(dataclasses.replace(action, inputs=each)) for each in (inputs, inputs[::-1])
    )
    (change,) = changes_of_parts(one, two)
    assert change.family == "source" and "b.cpp {project}/a.cpp" in change.now


CHANGES: dict[str, dict[str, Any]] = {
    "backend": {"backend": "python"},
    "target": {"target": "cuda:sm_90a"},
    "mode": {"mode": "debug"},
    "salt": {"salt": "edited"},
    "toolchain": {"toolchain": "2" * 32},
    "param": {"params": (("row", (("BLOCK", 128), ("T", "float"))),)},
    "flags": {"params": (("flags", ("-O1",)), ("row", (("BLOCK", 64), ("T", "float"))))},
    "outputs": {"outputs": ("*.so",)},
    "source": {"inputs": (("{project}/a.cpp", "f" * 32),)},
    "env": {"env": (("CPATH", "/x"),)},
    "stage": {"stage": "object"},
}
ANSWERS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "file": ({"files": {"{project}/a.h": "0" * 32}}, {"files": {"{project}/a.h": None}},
             "file {project}/a.h: 000000000000 -> absent"),
    "module": ({"modules": {"{project}/m.py": "0" * 32}}, {"modules": {"{project}/m.py": "1" * 32}},
               "module {project}/m.py: 000000000000 -> 111111111111"),
    "present": ({"present": {"{project}/x": "file of 12 bytes, executable"}},
                {"present": {"{project}/x": "file of 12 bytes"}},
                "present {project}/x: file of 12 bytes, executable -> file of 12 bytes"),
    "absent": ({"absent": {}}, {"absent": {"{project}/early/a.h": True}},
               "absent {project}/early/a.h: absent -> present"),
    "listing": ({"listings": {"{project}": "0" * 32}}, {"listings": {"{project}": "1" * 32}},
                "listing {project}: 000000000000 -> 111111111111"),
    "program": ({"programs": {"ninja": None}}, {"programs": {"ninja": "1" * 32}},
                "program ninja: absent -> 111111111111"),
    "distribution": ({"distributions": {"numpy": "0" * 32}}, {"distributions": {"numpy": "absent"}},
                     "distribution numpy: 2.0 [000000000000] -> absent"),
    "env": ({"env": {"CPATH": None}}, {"env": {"CPATH": "/x y"}}, "env CPATH: absent -> /x y"),
}  # fmt: skip


@pytest.mark.parametrize("family", CHANGES)
def test_each_part_has_its_family(action: Action, family: str) -> None:
    edited = dataclasses.replace(action, **CHANGES[family])
    assert action_key(edited) != action_key(action)
    changes = changes_of_parts(components(action), components(edited))
    assert [change.family for change in changes] == [family]


@pytest.mark.parametrize("family", ANSWERS)
def test_each_answer_has_its_family(family: str) -> None:
    was, now, text = ANSWERS[family]
    flat = [flatten(Closure(answers), {"numpy": "2.0"}) for answers in (was, now)]
    (change,) = changes_of_answers(*flat)
    assert (change.family, str(change)) == (family, text)
    assert bool(change.path) == ("{project}" in text)


def test_every_family_is_one_that_something_has() -> None:
    misses = {miss.family for miss in (DAMAGED, VERIFIED, NEVER_BUILT, OTHER_INPUTS, EVICTED)}
    assert set(FAMILIES) == misses | CHANGES.keys() | ANSWERS.keys()


def test_what_a_stage_left_is_its_family(action: Action) -> None:
    one, two = (
        dataclasses.replace(action, inputs=(("{stage}/0/a.o", digest * 64),)) for digest in "01"
    )
    (change,) = changes_of_parts(components(one), components(two))
    assert (change.family, change.was) == ("stage", "0" * 12)


class Compilers:
    """Two states of a compiler, and how a rebuilder calls them."""

    def __init__(self, *found: tuple[Toolchain, dict[str, str]]) -> None:
        self._found = {tool.digest: (tool, programs) for tool, programs in found}

    def surroundings(self) -> Surroundings:
        def name(digest: str) -> str:
            tool, _ = self._found[digest]
            return f"{tool.name} {tool.version} [{digest[:12]}]"

        return Surroundings(name, lambda digest: self._found[digest][1])


@pytest.mark.parametrize(
    ("version", "reason", "number"),
    [
        ("13.2", "toolchain {system}/usr/bin/as: absent -> bbbb", 2),
        ("14.1", f"toolchain: g++ 13.2 [{'1' * 12}] -> g++ 14.1 [{'2' * 12}]", 1),
    ],
)
def test_a_compiler_is_told_by_version_else_by_program(
    project: Any, action: Action, version: str, reason: str, number: int
) -> None:
    same = {"{system}/usr/bin/ld": "cccc"}
    around = Compilers(
        (Toolchain("g++", "13.2", "1" * 32), same),
        (Toolchain("g++", version, "2" * 32), {**same, "{system}/usr/bin/as": "bbbb"}),
    ).surroundings()
    rebuilder = Rebuilder(MemoryStore(), project.reader(), around)
    last = Record(rebuilder._components(action), rebuilder._programs(action.toolchain))
    miss = rebuilder.probe(dataclasses.replace(action, toolchain="2" * 32), last).miss
    assert miss is not None and (str(miss), miss.family) == (reason, "toolchain")
    assert len(miss.changes) == number
