"""When work runs: in simulated time, with tasks of known length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aot_build.execute.admission import GIB, Admission
from aot_build.execute.order import Cycle
from aot_build.execute.scheduler import Limits, Scheduler, Task
from tests.fakes import Pot, SimulatedPool, SimulatedTask, simulate

OUTCOMES = st.sampled_from(["ok", "ok", "error", "crashed", "memory", "lost"])


def test_longest_first_on_two_slots() -> None:
    pool = SimulatedPool(2)
    tasks = [SimulatedTask(pool, s, seconds=s) for s in (1, 1, 1, 3)]
    tally = simulate(pool, tasks).tally
    assert (tally.ended - tally.began, tally.cpu_seconds, tally.critical_path) == (3, 6, 3)
    assert pool.most == 2 and {s for t in tasks for s in t.slots} == {0, 1}


def test_dependants_run_as_soon_as_they_can() -> None:
    pool = SimulatedPool(2)
    a, b = SimulatedTask(pool, 1, seconds=1), SimulatedTask(pool, 9, seconds=9)
    link = SimulatedTask(pool, 2, seconds=2, needs=[a])
    tally = simulate(pool, [link, b]).tally
    # What it needs comes along; it does not wait for others of the same stage.
    assert link.began == [2.0] and tally.ended == 10.0
    assert tally.critical_path == 9 and (tally.done, tally.total) == (3, 3)


def test_what_a_task_reveals_runs_too() -> None:
    pool = SimulatedPool(2)
    found: list[Task] = []

    def reveal() -> list[Task]:
        found.extend(SimulatedTask(pool, 1) for _ in range(3))
        return found

    question = SimulatedTask(pool, 1, reveal=reveal, reveals=True)
    tally = simulate(pool, [SimulatedTask(pool, 1, seconds=50), question]).tally
    assert question.began == [1.0] and len(found) == 3
    assert all(task.over and not task.failed for task in found)
    assert tally.critical_path == 2 and tally.total == 5


def test_what_is_revealed_again_is_as_late_as_it_was() -> None:
    pool = SimulatedPool(1)
    first = SimulatedTask(pool, 1)
    last = SimulatedTask(pool, 1, needs=[first])
    quick = SimulatedTask(pool, 1, reveal=lambda: [first, last], reveals=True)
    slow = SimulatedTask(pool, 5, reveal=lambda: [first], reveals=True)
    tally = simulate(pool, [quick, slow]).tally
    assert first.began == [7.0] and tally.critical_path == 5


def test_a_failure_skips_what_depends_on_it_and_nothing_else() -> None:
    pool = SimulatedPool(1)
    bad = SimulatedTask(pool, 1, outcomes=["error"])
    skipped = SimulatedTask(pool, 1, needs=[bad])
    also = SimulatedTask(pool, 1, needs=[skipped])
    fine = SimulatedTask(pool, 1)
    simulate(pool, [bad, skipped, also, fine])
    assert bad.failure is not None and bad.failure.outcome == "error"
    for task in (skipped, also):
        assert task.failure is not None and task.failure.outcome == "skipped" and not task.began
    assert fine.failure is None and fine.began


def test_needing_what_failed_before() -> None:
    pool = SimulatedPool(1)
    bad = SimulatedTask(pool, 1, outcomes=["error"])
    late: list[SimulatedTask] = []

    def reveal() -> list[Task]:
        late.append(SimulatedTask(pool, 1, needs=[bad]))
        return list(late)

    simulate(pool, [bad, SimulatedTask(pool, 5, reveal=reveal, seconds=-1)])
    assert late[0].failure is not None and late[0].failure.outcome == "skipped"


def test_abnormal_ends_are_tried_again_and_errors_are_not() -> None:
    pool = SimulatedPool(2)
    crash = SimulatedTask(pool, 1, outcomes=["crashed", "lost", "ok"], retries=2)
    never = SimulatedTask(pool, 1, outcomes=["timeout"], retries=2)
    error = SimulatedTask(pool, 1, outcomes=["error"], retries=2)
    tally = simulate(pool, [crash, never, error]).tally
    assert [len(t.began) for t in (crash, never, error)] == [3, 3, 1]
    assert crash.failure is None and never.failure is not None and tally.retried == 4


def test_what_ran_out_of_memory_is_tried_again_alone() -> None:
    pool = SimulatedPool(4)
    big = SimulatedTask(pool, 1, outcomes=["memory", "ok"], retries=2, seconds=99)
    others = [SimulatedTask(pool, 3) for _ in range(8)]
    simulate(pool, [big, *others])
    (_, alone) = big.began
    for other in others:
        assert other.began[0] + 3 <= alone or other.began[0] >= alone + 1


@pytest.mark.parametrize("retries", [1, 2])
def test_the_last_attempt_of_what_was_lost_is_alone(retries: int) -> None:
    """What takes the executor along does not cost others all their attempts."""
    pool = SimulatedPool(2)
    lost = SimulatedTask(pool, 1, outcomes=["lost"] * retries + ["ok"], retries=retries, seconds=9)
    others = [SimulatedTask(pool, 3) for _ in range(4)]
    simulate(pool, [lost, *others])
    alone = lost.began[-1]
    assert len(lost.began) == retries + 1
    assert all(t.began[0] + 3 <= alone or t.began[0] >= alone + 1 for t in others)


def test_stopping_at_the_first_failure() -> None:
    pool = SimulatedPool(1)
    tasks = [SimulatedTask(pool, 1, outcomes=["error"], seconds=9), SimulatedTask(pool, 1)]
    simulate(pool, tasks, Limits(keep_going=False))
    assert tasks[1].failure is not None and tasks[1].failure.outcome == "skipped"


def test_what_waits_for_others_holds_up_nobody() -> None:
    pool = SimulatedPool(1)
    busy, free = SimulatedTask(pool, 1, seconds=9, busy=3), SimulatedTask(pool, 1)
    simulate(pool, [busy, free])
    assert free.began[0] < busy.began[0]


def test_a_cycle_is_an_error() -> None:
    pool = SimulatedPool(1)
    a = SimulatedTask(pool, 1)
    b = SimulatedTask(pool, 1, needs=[a])
    a.needs = (b,)
    with pytest.raises(Cycle) as caught:
        simulate(pool, [a])
    assert caught.value.fields["cycle"].count("task") == 3


@given(
    st.integers(1, 5),
    st.lists(
        st.tuples(
            st.floats(0.1, 5),
            st.sets(st.integers(0, 20), max_size=3),
            st.lists(st.sampled_from(["ok", "error", "crashed", "memory"]), min_size=1, max_size=3),
        ),
        max_size=20,
    ),
)
def test_any_graph_on_any_number_of_slots(slots, rows) -> None:  # type: ignore[no-untyped-def]
    """Each task settles once, after what it needs; what came of it does not rest on the slots."""
    outcomes = []
    for count in (slots, 1):
        pool = SimulatedPool(count)
        tasks: list[SimulatedTask] = []
        for takes, needs, ends in rows:
            before = [tasks[n] for n in sorted(needs) if n < len(tasks)]
            tasks.append(SimulatedTask(pool, takes, outcomes=ends, retries=1, needs=before))
        tally = simulate(pool, tasks).tally
        assert all(task.settlements == 1 for task in tasks)
        assert tally.done == tally.total == len(tasks)
        for task in tasks:
            ends = [max(n.began) + n.takes for n in task.needs if n.began]  # type: ignore[attr-defined]
            assert not task.began or task.began[0] >= max(ends, default=0)
        outcomes.append([task.failure and task.failure.outcome for task in tasks])
        busy = sum(task.takes * len(task.began) for task in tasks)
        assert tally.ended - tally.began >= busy / count - 1e-6
    assert outcomes[0] == outcomes[1]


def _checked(pool: SimulatedPool, tasks: list[SimulatedTask], scheduler: Scheduler) -> None:
    """Everything that became known has settled once, and nothing ran without what it needs."""
    assert [task.settlements for task in tasks] == [1] * len(tasks)
    assert all(task.over for task in tasks)
    assert scheduler.tally.done == scheduler.tally.total == len(tasks)
    for task in tasks:
        if any(need.failed for need in task.needs):
            assert task.failure is not None and not task.began, task


def test_what_is_revealed_may_need_a_chain_that_has_failed() -> None:
    """Two tasks that come together, one after the other, after what failed: each settles once."""
    pool = SimulatedPool(1)
    bad = SimulatedTask(pool, 1, outcomes=["error"], seconds=9)
    tasks = [bad]

    def reveal() -> list[Task]:
        first = SimulatedTask(pool, 1, needs=[bad])
        tasks.extend([first, SimulatedTask(pool, 1, needs=[first])])
        return list(tasks[2:])

    tasks.append(SimulatedTask(pool, 1, reveal=reveal))
    scheduler = simulate(pool, list(tasks))
    _checked(pool, tasks, scheduler)


@pytest.mark.parametrize("who", [0, 1])
def test_what_a_failure_reveals_may_need_what_is_lost_with_it(who: int) -> None:
    pool = SimulatedPool(1)
    bad = SimulatedTask(pool, 1, outcomes=["error"])
    lost = [SimulatedTask(pool, 1, needs=[bad]) for _ in range(3)]
    tasks = [bad, *lost]

    def reveal() -> list[Task]:
        tasks.append(SimulatedTask(pool, 1, needs=[lost[2]]))
        return [tasks[-1]]

    (bad, lost[0])[who].reveal_failed = reveal
    scheduler = simulate(pool, list(tasks))
    _checked(pool, tasks, scheduler)
    assert tasks[-1].failure is not None and tasks[-1].failure.outcome == "skipped"


def test_nothing_begins_after_the_first_failure() -> None:
    """Neither what waited for somebody outside the build, nor what is revealed later."""
    pool = SimulatedPool(3)
    busy = SimulatedTask(pool, 1, busy=1, seconds=1)
    tasks = [SimulatedTask(pool, 1, outcomes=["error"], seconds=9), busy]

    def reveal() -> list[Task]:
        tasks.append(SimulatedTask(pool, 1))
        return [tasks[-1]]

    tasks.append(SimulatedTask(pool, 2, reveal=reveal, seconds=5))
    scheduler = simulate(pool, list(tasks), Limits(keep_going=False))
    _checked(pool, tasks, scheduler)
    assert not busy.began and not tasks[-1].began


def test_the_critical_path_goes_through_what_revealed() -> None:
    """Also where what is revealed needs something else besides, and where it was known before."""
    pool = SimulatedPool(3)
    short, shared = SimulatedTask(pool, 1), SimulatedTask(pool, 2)
    late = SimulatedTask(pool, 4, needs=[short])
    question = SimulatedTask(pool, 5, reveal=lambda: [late, shared])
    scheduler = simulate(pool, [question, shared, short])
    assert scheduler.tally.critical_path == 9 and shared.chain == 2


@given(st.data())
def test_any_graph_that_grows_while_it_is_worked_off(data: st.DataObject) -> None:
    """Tasks that reveal others when they end or fail, which need any that were made before."""
    slots = data.draw(st.integers(1, 4), "slots")
    keep_going = data.draw(st.booleans(), "keep going")
    pool, pot = SimulatedPool(slots), Pot(data.draw(st.integers(1, 4), "tokens"))
    tasks: list[SimulatedTask] = []
    left = 14

    def some() -> list[Task]:
        nonlocal left
        made: list[Task] = []
        for _ in range(data.draw(st.integers(0, min(left, 3)), "revealed")):
            left -= 1
            needs = data.draw(st.sets(st.sampled_from([None, *tasks]), max_size=2), "needs")
            task = SimulatedTask(
                pool,
                data.draw(st.integers(1, 5), "takes"),
                seconds=data.draw(st.integers(0, 5), "seconds"),
                outcomes=data.draw(st.lists(OUTCOMES, min_size=1, max_size=3), "outcomes"),
                retries=1,
                busy=data.draw(st.integers(0, 2), "busy"),
                bytes=(size := data.draw(st.integers(1, 3), "GiB") * GIB),
                memory=size,
                needs=[need for need in tasks if need in needs],
                reveal=some,
                reveals=data.draw(st.booleans(), "reveals"),
            )
            task.reveal_failed = some
            tasks.append(task)
            made.append(task)
        return data.draw(st.permutations(made), "order")

    try:
        limits = Limits(pot, Admission(room=lambda: 4 * GIB), keep_going)
        scheduler = simulate(pool, some(), limits)
        _checked(pool, tasks, scheduler)
        assert pot.held == 0
        assert scheduler.tally.critical_path <= scheduler.tally.ended - scheduler.tally.began + 1e-6
    finally:
        pot.close()
