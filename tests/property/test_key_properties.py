"""Keys under random actions."""

import dataclasses
import random
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from aot_build.core.action import UNKEYED, Action
from aot_build.core.kernel import KernelSpec, Variant
from aot_build.core.manifest import variant_id
from aot_build.core.target import Target
from aot_build.digest import canonical
from aot_build.graph.keys import KEYED, action_key

TEXT = st.text(max_size=6)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=2).map(tuple), max_leaves=4)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "backend": TEXT, "stage": TEXT, "target": TEXT, "mode": TEXT, "toolchain": TEXT, "salt": TEXT,
    "params": st.lists(st.tuples(TEXT, VALUES), max_size=3).map(tuple), "inputs": PAIRS,
    "env": PAIRS, "outputs": st.lists(TEXT, max_size=2).map(tuple), "kernel": TEXT, "label": TEXT,
    "command": st.lists(TEXT, max_size=2).map(tuple), "timeout": st.none() | st.floats(0, 9),
    "retries": st.none() | st.integers(0, 9), "memory": st.none() | st.integers(0, 9),
}  # fmt: skip
ACTIONS = st.builds(Action, **FIELDS)
EDITS = st.sampled_from(sorted(FIELDS)).flatmap(lambda name: st.tuples(st.just(name), FIELDS[name]))


@given(ACTIONS, EDITS)
def test_an_edit_changes_the_key_exactly_where_the_field_is_keyed(
    action: Action, edit: tuple[str, Any]
) -> None:
    name, value = edit
    edited = dataclasses.replace(action, **{name: value})
    same = canonical(getattr(action, name)) == canonical(value)
    assert (action_key(action) == action_key(edited)) == (same or name in UNKEYED)


@given(ACTIONS, ACTIONS)
def test_equal_keys_mean_equal_keyed_fields(one: Action, two: Action) -> None:
    fields = [canonical([getattr(a, name) for name in KEYED]) for a in (one, two)]
    assert (action_key(one) == action_key(two)) == (fields[0] == fields[1])


@given(ACTIONS, TEXT, TEXT)
def test_text_never_moves_between_neighbours(action: Action, one: str, two: str) -> None:
    """ "ab" + "c" is not "a" + "bc": in no two fields, and in no two values of one."""
    assume(one != two)
    for first, second in (("backend", "stage"), ("target", "mode"), ("toolchain", "salt")):
        swapped = [
            dataclasses.replace(action, **{first: a, second: b})
            for a, b in ((one, two), (two, one), (one + two, ""), ("", one + two))
        ]
        distinct = {(getattr(a, first), getattr(a, second)) for a in swapped}
        assert len({action_key(a) for a in swapped}) == len(distinct)


@given(st.dictionaries(TEXT, VALUES, max_size=5), st.randoms())
def test_the_order_of_columns_never_matters(row: dict[str, Any], order: random.Random) -> None:
    spec = KernelSpec("k", "cpp", ("a.cpp",), (Target("cpu"),))
    columns = list(row.items())
    order.shuffle(columns)
    ids = {
        variant_id(Variant(spec, tuple(sorted(c, key=lambda pair: pair[0])), Target("cpu")))
        for c in (list(row.items()), columns)
    }
    assert len(ids) == 1


@given(st.dictionaries(TEXT, st.dictionaries(TEXT, st.none() | TEXT, max_size=3), max_size=3))
def test_a_closure_is_a_set_of_answers(closure: dict[str, dict[str, str | None]]) -> None:
    action = Action("b", "s", "t", "m", (), (), "c")
    turned = {k: dict(reversed(v.items())) for k, v in reversed(closure.items())}
    assert action_key(action, closure) == action_key(action, turned)
    assert action_key(action, closure) != action_key(action)
