"""What bounds work besides slots: CPU tokens and memory."""

import pytest

from aot_build.execute.admission import GIB, Admission
from aot_build.execute.scheduler import Limits
from tests.fakes import Pot, SimulatedPool, SimulatedTask, simulate


def test_a_token_each() -> None:
    pool, pot = SimulatedPool(8), Pot(3)
    tasks = [SimulatedTask(pool, 1, outcomes=["crashed", "error"], retries=1) for _ in range(20)]
    simulate(pool, tasks, Limits(tokens=pot))
    assert (pot.held, pot.most, pool.most) == (0, 3, 3)
    assert pot.recovered == 20  # Once for each crash, never for an error.
    pot.close()


@pytest.mark.parametrize("known", [True, False])
def test_memory_is_not_promised_twice(known: bool) -> None:
    """16 slots, 4 GiB, 1.5 GiB each: two at a time, one while nothing is known."""
    pool = SimulatedPool(16)
    need = GIB * 3 // 2
    tasks = [
        SimulatedTask(pool, 1, bytes=need, family="f", memory=need if known else 0)
        for _ in range(20)
    ]
    room = 4 * GIB - 100 * 2**20
    simulate(pool, tasks, Limits(admission=Admission(room=lambda: room)))
    assert pool.most_bytes <= room and pool.most == 2
    assert [len(t.began) for t in tasks] == [1] * 20


def test_what_was_too_short_to_be_looked_at_is_small() -> None:
    pool = SimulatedPool(4)
    tasks = [SimulatedTask(pool, 1, family="f") for _ in range(13)]
    tally = simulate(pool, tasks, Limits(admission=Admission(room=lambda: GIB))).tally
    assert tally.ended - tally.began == 1 + 12 / 4


def test_what_does_not_fit_runs_alone() -> None:
    pool = SimulatedPool(4)
    huge = SimulatedTask(pool, 1, bytes=9 * GIB, memory=9 * GIB, seconds=1)
    small = [SimulatedTask(pool, 1, bytes=GIB // 8, memory=GIB // 8) for _ in range(200)]
    simulate(pool, [huge, *small], Limits(admission=Admission(room=lambda: 4 * GIB)))
    assert huge.failure is None and all(t.failure is None for t in small)
