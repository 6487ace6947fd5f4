"""What jobs print: as much as they like, to a file that stays small."""

from pathlib import Path

import pytest

from aot_build.execute import forkserver
from aot_build.execute.printed import KEPT_BYTES, LINES, last_lines, settle
from tests.execute.trees import Run


def test_a_hundred_megabytes_are_cut(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "much.log"
    end = run("print_much", b"102400", log=str(log))
    assert end.outcome == "crashed"
    assert end.peak_bytes < 64 << 20
    assert log.stat().st_size < 2 * KEPT_BYTES + 100
    kept = log.read_text().splitlines()
    assert (kept[0], kept[-1]) == ("first", "last")
    (note,) = [line for line in kept if line.startswith("[aot_build:")]
    left_out = int(note.split()[1])
    assert left_out == 102400 * 1024 + len("first\nlast\n") - 2 * KEPT_BYTES


def test_a_crash_shows_the_last_lines(run: Run) -> None:
    first, *said = run("print_much", b"3").reason.splitlines()
    assert first == "ended by SIGABRT; it said last:"
    assert said[0] == "first" and said[-1] == "last" and len(said) == 5
    assert len(run("print_much", b"1000").reason.splitlines()) == 1 + LINES


def test_an_exception_is_its_own_reason(run: Run) -> None:
    assert run("fail").reason == "ValueError: boom"


@pytest.mark.slow
def test_who_prints_for_ever_is_ended(run: Run, tmp_path: Path) -> None:
    end = run("print_for_ever", log=str(tmp_path / "endless.log"), timeout=60)
    limit = forkserver.LOG_BYTES >> 30
    assert end.outcome == "crashed"
    assert end.reason.startswith(f"killed: it printed more than {limit} GiB")
    assert (tmp_path / "endless.log").stat().st_size < 2 * KEPT_BYTES + 100


def test_a_link_in_place_of_the_log_is_left_alone(run: Run, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"x" * 4 * KEPT_BYTES)
    assert run("link_log", str(precious).encode(), log=str(tmp_path / "a.log")).outcome == "ok"
    assert precious.stat().st_size == 4 * KEPT_BYTES


@pytest.mark.parametrize("size", [0, 1, 2 * KEPT_BYTES])
def test_short_files_stay(tmp_path: Path, size: int) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"y" * size)
    settle(str(log))
    assert log.read_bytes() == b"y" * size


def test_no_file_says_nothing(tmp_path: Path) -> None:
    settle(str(tmp_path / "absent"))
    settle("/dev/null")
    assert last_lines(str(tmp_path / "absent")) == ""
    assert last_lines("/dev/null") == ""


def test_empty_lines_and_bytes_of_no_text(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\n\n  \n\xfftwo   \n\n")
    assert last_lines(str(log)) == "one\n\ufffdtwo"
