"""Nothing else prints, and whatever the streams are the exit status is right."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL = "/dev/full"
pytestmark = pytest.mark.skipif(not os.path.exists(FULL), reason="needs /dev/full")


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def test_kernels_print_nothing(loud):
    ended = loud.run("build", "--json")
    assert ended.returncode == 0
    (only,) = ended.stdout.splitlines()
    assert json.loads(only)["executed"] == 3
    lines = ended.stderr.splitlines()
    assert lines and all(line.startswith("aot_build: ") for line in lines)
    assert not (loud.path / "build" / "aot" / "driver.log").read_text()


def test_failures_are_told_on_stderr_and_once_each(loud):
    loud.fail(1)
    loud.fail(2)
    ended = loud.run("build", "--json")
    assert ended.returncode == 1
    assert json.loads(ended.stdout.splitlines()[-1])["failed"] == 2
    assert "noise" not in ended.stderr and "\x1b" not in ended.stderr
    tally = ended.stderr.partition("2 of 3 variants failed")[2]
    assert tally.count("ValueError") == 1 and "and so [n=2] for cpu" in tally
    quiet = loud.run("build", "-q")
    assert quiet.returncode == 1
    assert "2 of 3 variants failed" in quiet.stderr and "to build" not in quiet.stderr
    assert quiet.stdout == ""


def test_quiet_and_verbose(loud):
    assert loud.run("build", "-q").stderr == ""
    append(loud.path / "demo" / "generate.py", "VERSION = 2\n")
    told = loud.run("build", "--verbose").stderr
    assert told.count("] table [n=") == 3 and "[3/3] table" in told
    assert loud.run("build", "-q", "-v").returncode == 2


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    "stderr", ["2>&-", "2>/dev/full", "2> >(head -c 10 >/dev/null)", "2> >(exit)"]
)
def test_a_stderr_that_takes_nothing(loud, stderr, fails):
    if fails:
        loud.fail(1)
    for _ in range(2):  # The second time there is nothing to do.
        command = ["bash", "-c", f'exec "$@" {stderr}', "sh", *loud.words("build", "--json")]
        ended = subprocess.run(command, env=loud.env, stdout=subprocess.PIPE, text=True, timeout=60)
        assert ended.returncode == fails
        assert json.loads(ended.stdout.splitlines()[-1])["failed"] == fails


def test_one_reader_of_both_who_leaves_early(loud):
    loud.fail(1)
    command = 'set -o pipefail; "$@" 2>&1 | head -1'
    ended = subprocess.run(
        ["bash", "-c", command, "sh", *loud.words("build", "--json", "-v")],
        env=loud.env, stdout=subprocess.PIPE, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stdout == "aot_build: 3 variants: 0 hits, 3 to build\n"


def test_wrong_usage_is_wrong_usage_unread(loud):
    with open(FULL, "w") as full:
        assert loud.run("biuld", stderr=full.fileno()).returncode == 2


def test_a_stdout_that_nobody_reads(loud):
    loud.fail(1)
    for status in (1, 0, 0):
        reading, writing = os.pipe()
        os.close(reading)
        ended = loud.run("build", "--json", stdout=writing)
        os.close(writing)
        assert ended.returncode == status, ended.stderr
        assert "Traceback" not in ended.stderr and "Exception" not in ended.stderr
        (loud.path / "fail-1").unlink(missing_ok=True)


def test_an_answer_that_cannot_be_given_is_a_failure(loud):
    for words in (["build", "--json"], ["build", "--json"], ["plan"], ["stats", "--json"]):
        with open(FULL, "w") as full:
            ended = loud.run(*words, stdout=full.fileno())
        assert ended.returncode == 2, words
        assert "the answer cannot be written: " in ended.stderr and "No space" in ended.stderr
        assert "Traceback" not in ended.stderr and "Exception" not in ended.stderr
    with open(FULL, "w") as full:
        assert loud.run("build", stdout=full.fileno()).returncode == 0, "nothing was asked for"


@pytest.mark.parametrize(
    "env", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}]
)
def test_streams_that_are_no_utf_8(loud, env):
    text = (loud.path / "pyproject.toml").read_text()
    (loud.path / "pyproject.toml").write_text(
        text.replace("n = [1, 2, 3]", 'n = [1, 2], s = "\u7c89"'), encoding="utf-8"
    )
    source = loud.path / "demo" / "generate.py"
    source.write_text(source.read_text().replace("target, n)", "target, n, s)"))
    assert loud.run("plan", **env).returncode == 0
    loud.fail(1)
    ended = loud.run("build", "--json", **env)
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr and "FAILED table [n=1, s=" in ended.stderr
    assert json.loads(ended.stdout)["failed"] == 1


def test_an_interrupt_is_told_even_where_nobody_listens(loud):
    loud.hold(1)
    with open(FULL, "w") as full:
        running = subprocess.Popen(
            loud.words("build"), env=loud.env, stderr=full, stdout=subprocess.PIPE, text=True
        )
        log = loud.path / "build" / "aot" / "events.jsonl"
        while not (log.exists() and "ActionStarted" in log.read_text()):
            assert running.poll() is None
        running.terminate()
        assert running.communicate(timeout=30)[0] == ""
    assert running.returncode == 130


TAKEN_ELSEWHERE = """
import signal, sys, threading
from aot_build import frontend
from aot_build.events import ActionStarted

def stop(number, frame):
    raise KeyboardInterrupt

def listen(event):
    if isinstance(event, ActionStarted):
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

signal.signal(signal.SIGTERM, stop)
asked = frontend.start(sys.argv[1], emit=listen)
try:
    asked.wait()
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_a_signal_that_another_thread_takes_is_noticed(loud):
    loud.hold(1)
    ended = subprocess.run(
        [sys.executable, "-c", TAKEN_ELSEWHERE, str(loud.path)], env=loud.env, timeout=60
    )
    assert ended.returncode == 130


def test_the_log_of_a_build_and_its_copy(loud):
    copy, traced = loud.path / "copy.jsonl", loud.path / "trace.json"
    loud.fail(2)
    ended = loud.run("build", "--events", str(copy), "--trace", str(traced))
    assert ended.returncode == 1
    own = loud.path / "build" / "aot" / "events.jsonl"
    logged = [json.loads(line) for line in own.read_text().splitlines()]
    copied = [json.loads(line) for line in copy.read_text().splitlines()]
    assert [row.pop("time") <= again.pop("time") + 1 for row, again in zip(logged, copied)]  # noqa: B905
    assert logged == copied
    assert logged[0]["event"] == "BuildStarted" and logged[-1]["event"] == "BuildFinished"
    assert len({row["event"] for row in logged}) >= 5
    bars = [r for r in json.loads(traced.read_text())["traceEvents"] if r["ph"] == "X"]
    assert sorted(bar["name"] for bar in bars) == [f"table [n={n}]" for n in (1, 2, 3)]
    again = json.loads(loud.run("trace").stdout)
    assert [r["name"] for r in again["traceEvents"] if r["ph"] == "X"] == [b["name"] for b in bars]


def test_a_build_with_nothing_to_do_is_one_event(loud):
    assert loud.run("build").returncode == 0
    own = loud.path / "build" / "aot" / "events.jsonl"
    before = own.read_text()
    copy = loud.path / "build" / "copy.jsonl"
    assert loud.run("build", "--events", str(copy)).returncode == 0
    told = [json.loads(line)["event"] for line in copy.read_text().splitlines()]
    # Too young for a snapshot, a build plans again.
    assert told == ["BuildFinished"] or told == ["BuildStarted", "PlanReady", "BuildFinished"]
    assert (own.read_text() == before) == (told == ["BuildFinished"])


def test_errors_are_in_the_log_too(loud):
    append(loud.path / "pyproject.toml", 'colour = "red"\n')
    copy = loud.path / "copy.jsonl"
    assert loud.run("build", "--events", str(copy)).returncode == 2
    *_, last = map(json.loads, copy.read_text().splitlines())
    assert last["event"] == "BuildError" and last["kind"] == "input"


def test_files_that_cannot_be_written(loud):
    for word in ("--events", "--trace"):
        ended = loud.run("build", word, str(loud.path / "no" / "folder"))
        assert ended.returncode == 2 and "cannot be written" in ended.stderr
        assert not (loud.path / "build").exists(), "before anything is built"
    for word in ("--events", "--trace"):
        ended = loud.run("build", word, FULL)
        assert ended.returncode == 0 and "No space left" in ended.stderr
    other = loud.run("trace", "-o", str(loud.path / "no" / "folder"))
    assert other.returncode == 2 and "cannot be written" in other.stderr


def test_no_build_no_trace(loud):
    ended = loud.run("trace")
    assert ended.returncode == 2 and "no build left a log here" in ended.stderr
