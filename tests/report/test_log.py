"""The event log: whole lines, one file a build, and no build fails for it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aot_build.events import ActionStarted, BuildStarted, Notice, encode
from aot_build.report.log import EventLog, path_of, read_log

WRITER = """
import sys
from aot_build.events import Notice, encode
from aot_build.report.log import EventLog
log = EventLog.of_build(sys.argv[1])
number = 0
while True:
    log.write(encode(Notice(f"{number} " + "x" * 5000)))
    number += 1
    if number == 100:
        print("going", flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path_of(tmp_path).parent.mkdir(parents=True)
    return tmp_path


def opened(folder: Path) -> EventLog:
    log = EventLog.of_build(str(folder))
    assert log is not None
    return log


def test_a_line_is_an_event_with_its_time(folder: Path) -> None:
    log, before = opened(folder), time.time()
    events = [BuildStarted("8a1f", "0.1.0"), ActionStarted("k", "N=\u00e9", "cpu", 1), Notice("x")]
    for event in events:
        log.write(encode(event))
    log.close()
    log.close()
    found = list(read_log(path_of(folder)))
    assert [event for _, event in found] == events
    assert all(before - 1 <= when <= time.time() + 1 for when, _ in found)
    lines = path_of(folder).read_text().splitlines()
    assert list(json.loads(lines[0])) == ["time", "event", "uuid", "version", "format"]


def test_builds_in_one_checkout_do_not_share_a_file(folder: Path) -> None:
    first = opened(folder)
    first.write(encode(Notice("first")))
    with open(path_of(folder)) as follower:
        second = opened(folder)
        first.write(encode(Notice("first again")))
        second.write(encode(Notice("second")))
        assert [json.loads(line)["text"] for line in follower] == ["first", "first again"]
    assert [event for _, event in read_log(path_of(folder))] == [Notice("second")]
    first.close()
    second.close()


def test_a_reader_passes_over_what_is_no_event(folder: Path) -> None:
    lines = [
        '{"time": 1.5, "event": "Notice", "text": "a", "more": 1}', '{"time": 2, "event": "New"}',
        "[]", "7", '{"event": "Notice", "text": "timeless"}', '{"time": null, "event": "Notice"}',
        '{"time": 3.0, "event": "Notice", "text": "b"}', '{"time": 4.0, "event": "Noti',
    ]  # fmt: skip
    path_of(folder).write_text("\n".join(lines))
    assert list(read_log(path_of(folder))) == [(1.5, Notice("a")), (3.0, Notice("b"))]


def test_kill_9_leaves_whole_lines(folder: Path) -> None:
    """Whatever was written is there, and at most the last line is a part of one."""
    writing = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert writing.stdout is not None and writing.stdout.readline() == "going\n"
    os.kill(writing.pid, signal.SIGKILL)
    writing.communicate()
    *whole, _ = path_of(folder).read_text().split("\n")
    assert len(whole) >= 100
    texts = [json.loads(line)["text"] for line in whole]
    assert [text.split()[0] for text in texts] == [str(n) for n in range(len(whole))]


def test_a_full_disk_ends_the_log_alone() -> None:
    log = EventLog.at("/dev/full")
    for _ in range(3):
        log.write(encode(Notice("x")))
    assert "No space left" in log.problem
    log.close()


def test_no_folder_no_log(tmp_path: Path) -> None:
    assert EventLog.of_build(str(tmp_path / "gone")) is None


def test_a_log_may_be_a_pipe() -> None:
    reading, writing = os.pipe()
    log = EventLog.at(f"/dev/fd/{writing}")
    log.write(encode(Notice("x")))
    log.close()
    os.close(writing)
    with open(reading) as stream:
        assert json.loads(stream.read())["text"] == "x"
