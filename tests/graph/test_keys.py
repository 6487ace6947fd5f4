"""No field escapes the key."""

import dataclasses
from collections.abc import Callable

import pytest

from aot_build.core.action import UNKEYED, Action
from aot_build.graph.components import LONGEST, components
from aot_build.graph.keys import KEYED, action_key

OTHER: dict[str, object] = {
    "backend": "python", "stage": "call", "target": "cpu:x86-64-v3", "mode": "debug",
    "params": (("row", (("BLOCK", 128), ("T", "float"))),),
    "inputs": (("{project}/a.cpp", "f" * 32),), "toolchain": "2" * 32,
    "env": (("CPATH", "/x"),), "salt": "s", "outputs": ("*.so",), "kernel": "other",
    "label": "other", "command": ("/elsewhere/g++",), "timeout": 3.0, "retries": 5, "memory": 7,
}  # fmt: skip


def test_every_field_is_keyed_or_excused() -> None:
    names = {field.name for field in dataclasses.fields(Action)}
    assert names == set(KEYED) | set(UNKEYED) == OTHER.keys()
    assert not set(KEYED) & set(UNKEYED)
    assert all(UNKEYED.values()), "each excuse gives a reason"


def test_what_is_excused_is_what_comparison_leaves_out() -> None:
    assert {f.name for f in dataclasses.fields(Action) if not f.compare} == UNKEYED.keys()


@pytest.mark.parametrize("name", KEYED)
def test_each_keyed_field_changes_the_key(action: Action, name: str) -> None:
    edited = dataclasses.replace(action, **{name: OTHER[name]})
    assert action_key(edited) != action_key(action)
    assert components(edited) != components(action)


@pytest.mark.parametrize("name", UNKEYED)
def test_no_excused_field_does(action: Action, name: str) -> None:
    edited = dataclasses.replace(action, **{name: OTHER[name]})
    assert action_key(edited) == action_key(action)
    assert components(edited) == components(action)


def test_a_closure_changes_the_key(action: Action) -> None:
    closures = [
        None, {}, {"files": {}}, {"files": {"{project}/a.h": "0"}},
        {"files": {"{project}/a.h": None}},
        {"files": {"{project}/b.h": "0"}}, {"modules": {"{project}/a.h": "0"}},
    ]  # fmt: skip
    assert len({action_key(action, closure) for closure in closures}) == len(closures)


def test_the_order_of_inputs_counts_and_that_of_closures_does_not(action: Action) -> None:
    one, two = ("{project}/a.cpp", "0" * 32), ("{project}/b.cpp", "1" * 32)
    keys = {action_key(dataclasses.replace(action, inputs=i)) for i in ((one, two), (two, one))}
    assert len(keys) == 2
    assert action_key(action, {"a": {"x": 1, "y": 2}, "b": {}}) == action_key(
        action, {"b": {}, "a": {"y": 2, "x": 1}}
    )


def test_keys_do_not_depend_on_the_hash_seed(fresh_python: Callable[..., str]) -> None:
    script = (
        "from aot_build.core.action import Action\n"
        "from aot_build.graph.keys import action_key\n"
        "made = Action('cpp', 'lib', 'cpu', 'release', (('row', (('T', 'float'),)),), (), 't')\n"
        "print(action_key(made, {'env': {n: None for n in {'A', 'B', 'C'}}}))"
    )
    assert len({fresh_python(script, PYTHONHASHSEED=seed) for seed in ("0", "1", "77")}) == 1


def test_components_name_each_part(action: Action) -> None:
    long = dataclasses.replace(
        action, env=(("CPATH", "/x"),), params=(("flags", ("-DX=" + "y" * 500,)), ("n", 1))
    )
    parts = components(long)
    assert parts["env CPATH"] == "/x" and parts["param n"] == "1"
    assert parts["source {project}/a.cpp"] == "0" * 32
    assert max(map(len, parts.values())) <= LONGEST
    edited = dataclasses.replace(long, params=(("flags", ("-DX=" + "y" * 501,)), ("n", 1)))
    assert components(edited)["flags"] != parts["flags"], "long values differ too"
