"""Which task is next."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aot_build.execute.order import Cycle, Order

GRAPHS = st.lists(
    st.tuples(st.floats(0, 9), st.sets(st.integers(0, 30), max_size=3)), max_size=30
).map(lambda rows: [(n, s, [m for m in needs if m < n]) for n, (s, needs) in enumerate(rows)])
"""Tasks by number, their seconds, and the older ones that they need."""


def test_the_longest_remaining_path_goes_first() -> None:
    order: Order[str] = Order()
    order.add([("long", 5.0, ()), ("first", 1.0, ()), ("then", 9.0, ["first"])])
    assert [order.take(), order.take(), order.take()] == ["first", "long", None]
    order.end("first")
    assert order.take() == "then"


def test_a_chain_that_is_found_later_counts() -> None:
    order: Order[str] = Order()
    order.add([("a", 5.0, ()), ("b", 1.0, ())])
    order.add([("c", 7.0, ["b"])])
    assert order.take() == "b"


def test_equal_ones_keep_their_order() -> None:
    order: Order[int] = Order()
    order.add((n, 1.0, ()) for n in range(9))
    assert [order.take() for _ in range(9)] == list(range(9))


def test_a_failure_takes_what_needs_it_and_nothing_else() -> None:
    order: Order[str] = Order()
    order.add([("a", 1, ()), ("b", 1, ["a"]), ("c", 1, ["b", "x"]), ("x", 1, ()), ("y", 1, ["x"])])
    assert order.take() == "a" and order.take() == "x"
    assert sorted(order.fail("a")) == ["b", "c"]
    order.end("x")
    assert order.take() == "y" and order.take() is None and len(order) == 0


def test_a_cycle_is_told() -> None:
    order: Order[str] = Order()
    order.add([("0", 1, ())])
    with pytest.raises(Cycle, match="need one another") as caught:
        order.add([("a", 1, ["0", "c"]), ("b", 1, ["a"]), ("c", 1, ["b"]), ("d", 1, ())])
    assert caught.value.fields["cycle"] == "a -> c -> b -> a"
    assert len(order) == 1
    with pytest.raises(Cycle):
        order.add([("e", 1, ["e"])])


@given(GRAPHS, st.randoms(use_true_random=False))
def test_everything_comes_once_after_what_it_needs(graph, random) -> None:  # type: ignore[no-untyped-def]
    order: Order[int] = Order()
    order.add(graph)
    needs = {task: set(before) for task, _, before in graph}
    taken: list[int] = []
    ended: set[int] = set()
    while len(ended) < len(graph):
        while (task := order.take()) is not None:
            assert needs[task] <= ended
            if random.random() < 0.2:
                order.put_back(task)
                break
            taken.append(task)
        running = [task for task in taken if task not in ended]
        if running:
            ended.add(each := random.choice(running))
            order.end(each)
    assert sorted(taken) == sorted(needs)


@given(GRAPHS)
def test_priorities_are_bottom_levels(graph) -> None:  # type: ignore[no-untyped-def]
    order: Order[int] = Order()
    for row in graph:
        order.add([row])
    level: dict[int, float] = {}
    for task, seconds, _ in reversed(graph):
        after = [level[t] for t, _, needs in graph if task in needs]
        level[task] = seconds + max(after, default=0.0)
    ready = [task for task, _, needs in graph if not needs]
    taken = [order.take() for _ in ready]
    assert taken == sorted(ready, key=lambda task: (-level[task], task))


@given(GRAPHS, st.data())
def test_what_is_ready_comes_by_its_longest_path(graph, data) -> None:  # type: ignore[no-untyped-def]
    """However the tasks come: in batches, and in any order within one."""
    order: Order[int] = Order()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(graph)), max_size=3)))
    for start, end in itertools.pairwise([0, *cuts, len(graph)]):
        order.add(data.draw(st.permutations(graph[start:end])))
    path: dict[int, float] = {}
    for task, seconds, _ in reversed(graph):
        after = [path[t] for t, _, needs in graph if task in needs]
        path[task] = seconds + max(after, default=0.0)
    taken = iter(order.take, None)
    assert [path[task] for task in taken] == sorted(
        (path[task] for task, _, needs in graph if not needs), reverse=True
    )


def test_many_ways_through_a_graph_are_not_walked_one_by_one() -> None:
    """60 times two ways, the longer one found later: 2**60 chains."""
    order: Order[str] = Order()
    tasks: list[tuple[str, float, list[str]]] = [("v0", 1.0, [])]
    for n in range(1, 61):
        tasks.append((f"a{n}", 2.0**n, [f"v{n - 1}"]))
        tasks.append((f"v{n}", 1.0, [f"a{n}", f"v{n - 1}"]))
    order.add(reversed(tasks))
    assert order.take() == "v0"
