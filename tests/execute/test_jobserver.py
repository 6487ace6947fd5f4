"""The ledger of the pot, and that it is whole again after whatever befalls those who take of it."""

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aot_build.execute.jobserver import Guest, Jobserver, _readable, open_tokens
from aot_build.execute.limits import cpu_slots


@pytest.fixture
def front() -> Iterator[Jobserver]:
    """A front end's pot of nothing yet; the front end holds one."""
    pot = Jobserver.create()
    yield pot
    pot.close()


@pytest.fixture
def driver(front: Jobserver) -> Iterator[Jobserver]:
    """The driver's side of it, which has said that there are three."""
    opened = open_tokens(front.addresses, 3)
    assert isinstance(opened, Jobserver)
    yield opened
    opened.close()


def all_of(pot: Jobserver) -> int:
    """Take what there is."""
    count = 0
    while pot.take():
        count += 1
    return count


def readable(pot: Jobserver) -> bool:
    return bool(select.select([pot], [], [], 0)[0])


def test_the_front_end_holds_one_before_the_driver_may_take_any(
    front: Jobserver, driver: Jobserver
) -> None:
    assert (front.size, _readable(front.fileno())) == (3, 2)
    assert all_of(driver) == 2


def test_after_the_front_end_has_given_its_token_the_driver_has_all(
    front: Jobserver, driver: Jobserver
) -> None:
    front.give()
    assert all_of(driver) == 3


def test_a_token_given_before_the_driver_is_there_is_not_lost(front: Jobserver) -> None:
    front.give()
    driver = open_tokens(front.addresses, 2)
    assert isinstance(driver, Jobserver)
    assert all_of(driver) == 2
    driver.close()


def test_with_one_token_each_has_its_turn(front: Jobserver) -> None:
    driver = open_tokens(front.addresses, 1)
    assert isinstance(driver, Jobserver)
    assert not driver.take()
    assert not readable(driver)
    front.give()
    assert readable(driver)
    assert driver.take()
    assert not driver.take()
    driver.give()
    assert driver.take()
    driver.close()


def test_the_end_of_a_command_makes_good_what_its_tools_lost(
    front: Jobserver, driver: Jobserver
) -> None:
    assert driver.take()
    os.read(front.fileno(), 1)  # a tool takes the last one, and is killed
    assert not driver.take()
    front.refill()
    assert driver.take()
    assert not driver.take()


def test_what_the_tools_of_a_killed_worker_held_is_made_good() -> None:
    driver = open_tokens((), 4)
    assert isinstance(driver, Jobserver)
    assert driver.take() and driver.take()
    os.read(driver.fileno(), 2)  # A ninja of the first one, which then ends with it.
    driver.give()
    assert driver.take() and not driver.take()
    driver.give()
    driver.recover()
    assert all_of(driver) == 3
    driver.close()


def test_what_tools_of_the_front_end_hold_is_not_made_good_for_a_worker(
    front: Jobserver, driver: Jobserver
) -> None:
    os.read(front.fileno(), 2)
    driver.recover()
    assert not driver.take()


def test_what_is_given_back_too_often_is_taken_out(front: Jobserver, driver: Jobserver) -> None:
    os.write(front.fileno(), b"++")
    front.refill()
    assert all_of(driver) == 2
    os.write(front.fileno(), b"+")
    driver.give()
    assert all_of(driver) == 1


def test_a_driver_that_is_gone_leaves_its_tokens_to_others(
    front: Jobserver, driver: Jobserver
) -> None:
    assert all_of(driver) == 2
    front.bury()
    assert _readable(front.fileno()) == 2


def test_burial_leaves_alone_what_tools_hold(front: Jobserver, driver: Jobserver) -> None:
    assert driver.take()
    os.read(front.fileno(), 1)
    front.bury()
    assert _readable(front.fileno()) == 1


def test_a_driver_that_never_came_so_far_leaves_a_token_a_cpu(front: Jobserver) -> None:
    front.bury()
    assert _readable(front.fileno()) == cpu_slots() - 1


def test_closing_gives_back(front: Jobserver, driver: Jobserver) -> None:
    assert all_of(driver) == 2
    driver.close()
    driver.close()
    assert _readable(front.fileno()) == 2


def test_nothing_is_left_on_disk_nor_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    pot = Jobserver.create()
    driver = open_tokens(pot.addresses, 2)
    assert driver is not None
    driver.close()
    pot.close()
    pot.bury()  # the thread that says so may come late
    pot.refill()
    assert os.listdir("/proc/self/fd") == before


def test_a_driver_without_front_end_has_a_pot_of_its_own() -> None:
    pot = open_tokens((), 2)
    assert isinstance(pot, Jobserver)
    assert all_of(pot) == 2
    pot.give()
    pot.give()
    os.read(pot.fileno(), 2)  # two tools of workers were killed
    assert all_of(pot) == 2
    pot.close()


def test_addresses_of_somebody_who_is_gone_are_as_none() -> None:
    pot = Jobserver.create()
    addresses = pot.addresses
    pot.close()
    own = open_tokens(addresses, 2)
    assert isinstance(own, Jobserver)
    assert all_of(own) == 2
    own.close()


def test_a_guest_gives_back_the_bytes_that_it_took(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "outer")
    outer = os.open(tmp_path / "outer", os.O_RDWR | os.O_NONBLOCK)
    os.write(outer, b"ab")
    guest = open_tokens([str(tmp_path / "outer")], 8)
    assert isinstance(guest, Guest)
    # One is its own: whoever is started by a make has been given it.
    assert [guest.take() for _ in range(4)] == [True, True, True, False]
    guest.give()
    guest.close()
    guest.close()
    assert sorted(os.read(outer, 9)) == sorted(b"ab")
    os.close(outer)


@pytest.mark.parametrize(
    ("size", "expected", "most"),
    [(1, 8, 0), (2, 8, 1), (3, 8, 1), (8, 8, 4), (8, 2, 6), (8, 1, 7), (8, 0, 7)],
)
def test_the_driver_leaves_room_for_what_is_expected(
    front: Jobserver, size: int, expected: int, most: int
) -> None:
    front.expect(expected)
    driver = open_tokens(front.addresses, size)
    assert isinstance(driver, Jobserver)
    assert all_of(driver) == most
    assert not readable(driver)
    front.expect(0)
    assert most + all_of(driver) == size - 1
    front.expect(expected)
    front.give()
    assert driver.take()
    assert not driver.take()
    driver.close()


def killed_while_it_holds(pot: Jobserver) -> None:
    script = (
        "import sys; from aot_build.execute.jobserver import Jobserver;"
        "pot = Jobserver.open(sys.argv[1:]); print(pot.take(), pot.take(), flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, *pot.addresses],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline().split() == ["True", "True"]
        child.kill()


def test_a_killed_driver_process_costs_no_token(front: Jobserver, driver: Jobserver) -> None:
    killed_while_it_holds(front)
    assert not driver.take()
    front.bury()
    assert all_of(driver) == 2


class Ledger(RuleBasedStateMachine):
    """A front end, its driver, and tools that come, take, give back and are killed."""

    def __init__(self) -> None:
        super().__init__()
        self.front = Jobserver.create()
        self.driver: Jobserver | None = None
        self.size = 0
        self.waiting = False
        """Whether the front end has given its token."""
        self.taken = 0
        self.tools: list[bytes] = []
        self.lost = 0

    def teardown(self) -> None:
        if self.driver is not None:
            self.driver.close()
        self.front.close()

    @precondition(lambda self: self.driver is None)
    @rule(size=st.integers(1, 5))
    def fill(self, size: int) -> None:
        opened = open_tokens(self.front.addresses, size)
        assert isinstance(opened, Jobserver)
        self.driver, self.size = opened, size

    @precondition(lambda self: self.driver is not None)
    @rule()
    def take(self) -> None:
        assert self.driver is not None
        self.taken += self.driver.take()

    @precondition(lambda self: self.taken)
    @rule()
    def give(self) -> None:
        assert self.driver is not None
        self.driver.give()
        self.taken -= 1

    @precondition(lambda self: not self.waiting)
    @rule()
    def tool_takes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.tools.append(os.read(self.front.fileno(), 1))

    @precondition(lambda self: self.tools)
    @rule(killed=st.booleans())
    def tool_ends(self, killed: bool) -> None:
        token = self.tools.pop()
        if killed:
            self.lost += 1
        else:
            os.write(self.front.fileno(), token)

    @precondition(lambda self: not self.waiting and not self.tools)
    @rule()
    def command_ends(self) -> None:
        self.front.refill()
        self.lost = 0

    @precondition(lambda self: not self.waiting and not self.tools)
    @rule()
    def join(self) -> None:
        self.front.refill()
        self.front.give()
        self.waiting, self.lost = True, 0

    @precondition(lambda self: self.taken)
    @rule()
    def driver_dies(self) -> None:
        self.front.bury()
        self.taken = 0

    def free(self) -> int:
        return _readable(self.front.fileno())

    @invariant()
    def each_token_is_somewhere(self) -> None:
        if self.driver is not None:
            held = (not self.waiting) + self.taken + len(self.tools) + self.lost
            assert self.free() == self.size - held


TestLedger = Ledger.TestCase


def test_threads_share_one_side(front: Jobserver, driver: Jobserver) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def turn(_: int) -> None:
        if driver.take():
            driver.give()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(turn, range(400)))
    assert _readable(front.fileno()) == 2
