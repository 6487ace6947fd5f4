"""What is remembered of actions is advice: whatever it says, builds go on."""

import math
import os
from pathlib import Path

import msgspec
import pytest

from aot_build.store.history import FOLDER, History, Past


def _written(cache: Path, past: list[float]) -> History:
    (cache / FOLDER).mkdir()
    rows = {"scale|": {"one": past, "two": [1.0, 1.0, 1]}}
    (cache / FOLDER / "demo.msgpack").write_bytes(msgspec.msgpack.encode(rows))
    return History(cache, "demo")


def test_what_was_noted_is_known_to_the_next_build(tmp_path: Path) -> None:
    first = History(tmp_path, "demo")
    first.note("scale|", "one", Past(2.0, 1.5, 1 << 30))
    first.save()
    assert History(tmp_path, "demo").past("scale|", "one") == Past(2.0, 1.5, 1 << 30)


@pytest.mark.parametrize(
    "past",
    [[math.nan, 1.0, 1], [math.inf, 1.0, 1], [-1.0, 1.0, 1], [1e300, 1.0, 1], [1.0, math.nan, 1],
     [1.0, 1.0, -1], [1.0, 1.0, 2**64 - 1]],
)  # fmt: skip
def test_numbers_that_no_action_takes_are_no_history(tmp_path: Path, past: list[float]) -> None:
    history = _written(tmp_path, past)
    assert history.seconds("scale|", "one") == 0.0
    assert history.peaks() == {}


def test_nobody_waits_for_a_pipe_in_its_place(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    os.mkfifo(tmp_path / FOLDER / "demo.msgpack")
    assert History(tmp_path, "demo").families() == {}


def test_what_is_not_known_is_taken_from_its_family_else_from_all(tmp_path: Path) -> None:
    assert History(tmp_path, "demo").seconds("gemm|", "a") == 0.0
    history = History(tmp_path, "demo")
    for name, seconds in (("a", 1.0), ("b", 2.0), ("c", 9.0)):
        history.note("gemm|", name, Past(seconds))
    history.note("norm|", "a", Past(3.0))
    history.save()
    known = History(tmp_path, "demo")
    assert [known.seconds("gemm|", name) for name in ("c", "d")] == [9.0, 2.0]
    assert known.seconds("scan|", "a") == known.seconds("sort|", "b") == 2.5
