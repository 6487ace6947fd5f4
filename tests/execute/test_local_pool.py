"""What comes of a job, whatever it does to its process."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from aot_build.errors import EnvironmentProblem, InternalError, Interrupted
from aot_build.execute import wire
from aot_build.execute.pool import LocalPool
from aot_build.execute.protocol import Job, JobEnd
from aot_build.execute.verdict import verdict
from tests.execute.trees import Run


def test_returned_bytes_come_back(run: Run) -> None:
    end = run("echo", b"\0payload\xff")
    assert (end.outcome, end.payload, end.reason) == ("ok", b"\0payload\xff", "")
    assert 0 < end.seconds < 5


def test_answers_larger_than_a_pipe(run: Run) -> None:
    assert run("big", b"5000000").payload == b"x" * 5_000_000
    assert run("echo", b"y" * 5_000_000).payload == b"y" * 5_000_000


@pytest.mark.parametrize(
    ("entry", "outcome", "reason"),
    [
        ("fail", "error", "ValueError: boom"),
        ("leave", "error", "SystemExit: enough"),
        ("interrupt", "error", "KeyboardInterrupt"),
        ("nasty", "error", "entries.Nasty: <its message cannot be shown>"),
        ("starve", "memory", "MemoryError: no room"),
        ("text", "error", "TypeError: entries:text returned str, not bytes"),
        ("entries:absent", "error", "AttributeError: module 'entries' has no attribute 'absent'"),
        ("no_such_module:f", "error", "ModuleNotFoundError: No module named 'no_such_module'"),
        (":", "error", "ValueError: an entry is module:function, not ':'"),
        ("abort", "crashed", "ended by SIGABRT"),
        ("segfault", "crashed", "ended by SIGSEGV"),
        ("exit_loudly", "crashed", "exited with status 3 without an answer"),
        ("close_everything", "nothing", "exited without an answer"),
        ("close_and_reuse", "nothing", "exited without an answer"),
        ("exit_quietly", "nothing", "exited without an answer"),
        ("kill_group", "crashed", "ended by SIGKILL"),
        ("loop_of_causes", "error", "ValueError: round"),
        ("no_memory_for_a_file", "memory", "OSError: [Errno 12] Cannot allocate memory"),
    ],
)
def test_outcomes(run: Run, entry: str, outcome: str, reason: str) -> None:
    end = run(entry)
    assert (end.outcome, end.reason, end.payload) == (outcome, reason, b"")
    assert run("echo", b"next").payload == b"next"


def test_a_huge_message_is_cut(run: Run) -> None:
    reason = run("verbose").reason
    assert reason.startswith("ValueError: xxx") and reason.endswith("...") and len(reason) < 3000


def test_the_log_has_all_that_was_said(run: Run, tmp_path: Path) -> None:
    run("talk", log=str(tmp_path / "talk.log"))
    said = (tmp_path / "talk.log").read_text().splitlines()
    assert sorted(said) == ["from C", "from Python", "from a child", "to stderr"]
    run("whisper_and_die", log=str(tmp_path / "die.log"))
    assert (tmp_path / "die.log").read_text() == "last words\n"
    run("fail", log=str(tmp_path / "fail.log"))
    trace = (tmp_path / "fail.log").read_text()
    assert trace.startswith("Traceback") and trace.endswith("ValueError: boom\n")


def test_a_log_that_cannot_be_opened(run: Run, tmp_path: Path) -> None:
    end = run("null", log=str(tmp_path / "absent" / "a.log"))
    assert end.outcome == "error" and end.reason.startswith("FileNotFoundError")


def test_jobs_do_not_see_each_other(run: Run, tmp_path: Path) -> None:
    assert run("spoil").outcome == "ok"
    scratch = str(tmp_path / "scratch1")
    end = run("where", b"GREETING", env={"GREETING": "hello"})
    assert end.payload.decode().splitlines() == [scratch, scratch, "", "b'GREETING'", "hello"]


def test_the_process_of_a_job(run: Run) -> None:
    assert run("standing").payload == b"(True, True, True, True, True, False, b'')"


def test_a_job_holds_no_descriptor_of_the_forkserver(run: Run, tmp_path: Path) -> None:
    log = str(tmp_path / "0.log")
    found = eval(run("descriptors", log=log).payload)
    assert {number: found.pop(number) for number in range(3)} == {0: "/dev/null", 1: log, 2: log}
    assert list(found.values()) == ["pipe"]


def test_an_answer_never_goes_into_a_file(run: Run, tmp_path: Path) -> None:
    assert run("close_and_reuse").outcome == "nothing"
    files = list((tmp_path / "scratch0").iterdir())
    assert len(files) == 64
    assert {file.read_bytes() for file in files} == {b""}


def test_threads_of_a_job_do_not_hold_it(run: Run) -> None:
    end = run("answer_and_linger")
    assert (end.outcome, end.payload) == ("ok", b"done")
    assert end.seconds < 5


def test_costs_of_a_job(run: Run) -> None:
    assert 0.2 <= run("burn", b"0.2").cpu_seconds < 1
    assert run("null").peak_bytes < 40 << 20
    assert 200 << 20 <= run("allocate", b"%d" % (200 << 20)).peak_bytes < 260 << 20


@pytest.mark.slow
def test_the_memory_of_a_child_counts(run: Run) -> None:
    end = run("allocate_for_long", b"%d" % (200 << 20))
    assert 200 << 20 <= end.peak_bytes < 260 << 20


def test_many_jobs(pool: LocalPool) -> None:
    for number in range(200):
        pool.submit(Job(number, "entries:echo", b"%d" % number))
    ends: dict[int, JobEnd] = {}
    while len(ends) < 200:
        ends |= {end.id: end for end in pool.wait()}
    assert {n: end.payload for n, end in ends.items()} == {n: b"%d" % n for n in range(200)}
    assert pool.wait() == []


def test_slots_are_kept(pool: LocalPool) -> None:
    began = time.monotonic()
    for number in range(6):
        pool.submit(Job(number, "entries:nap", b"0.2"))
    ends: list[JobEnd] = []
    while len(ends) < 6:
        ends += pool.wait()
    assert 0.6 <= time.monotonic() - began < 1.5


def test_waiting_ends_in_time(pool: LocalPool) -> None:
    assert pool.wait(5) == []
    pool.submit(Job(1, "entries:nap", b"1.5"))
    began = time.monotonic()
    assert pool.wait(0.1) == []
    assert 0.1 <= time.monotonic() - began < 1.4, "before it ended"
    assert [end.id for end in pool.wait(5)] == [1]


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with LocalPool(2, log=tmp_path / "log") as pool:
        for number in range(20):
            pool.submit(Job(number, "entries:fail", b""))
        done = 0
        while done < 20:
            done += len(pool.wait())
        pool.submit(Job(99, "entries:nap", b"60"))
    assert os.listdir("/proc/self/fd") == before


def test_a_readable_stop_descriptor_interrupts(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    try:
        pool = LocalPool(1, stop_fds=(reader,), log=tmp_path / "log")
        pool.submit(Job(1, "entries:nap", b"60"))
        assert pool.wait(0.1) == []
        os.close(writer)
        with pytest.raises(Interrupted):
            pool.wait()
        assert pool.server_pid is None
    finally:
        os.close(reader)


def test_a_closed_pool_takes_nothing(pool: LocalPool) -> None:
    pool.close()
    pool.close()
    with pytest.raises(InternalError):
        pool.submit(Job(1, "entries:null", b""))
    assert pool.wait() == []


def test_the_environment_is_the_given_one(tmp_path: Path) -> None:
    with LocalPool(1, env={"GREETING": "hello"}, log=tmp_path / "log") as pool:
        pool.submit(Job(1, "entries:where", b"GREETING"))
        assert pool.wait()[0].payload.decode().splitlines()[-1] == "hello"


@pytest.mark.parametrize("given", [{}, {"OMP_NUM_THREADS": "64", "OPENBLAS_NUM_THREADS": "4"}])
@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"])
def test_libraries_in_workers_start_one_thread_whatever_the_caller_has(
    tmp_path: Path, given: dict[str, str], name: str
) -> None:
    with LocalPool(1, env=given, log=tmp_path / "log") as pool:
        pool.submit(Job(1, "entries:where", name.encode()))
        assert pool.wait()[0].payload.decode().splitlines()[-1] == "1"


def test_what_a_job_declares_of_its_threads_counts(tmp_path: Path) -> None:
    declared = {"OMP_NUM_THREADS": "3"}
    with LocalPool(1, log=tmp_path / "log") as pool:
        pool.submit(Job(1, "entries:where", b"OMP_NUM_THREADS", env=declared))
        assert pool.wait()[0].payload.decode().splitlines()[-1] == "3"


@pytest.mark.slow
@pytest.mark.torch
def test_torch_in_a_worker_has_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with LocalPool(1, log=tmp_path / "log") as pool:
        pool.submit(Job(1, "entries:threads_of_torch", b""))
        assert pool.wait()[0].payload == b"1"


def test_a_forkserver_that_cannot_start(tmp_path: Path) -> None:
    env = {"PYTHONHOME": str(tmp_path)}
    with LocalPool(1, env=env, log=tmp_path / "log") as pool:
        pool.submit(Job(1, "entries:null", b""))
        (end,) = pool.wait(20)
    assert end.outcome == "lost"
    assert "the forkserver exited with status" in end.reason


def test_edits_between_jobs_are_seen(run: Run, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(tmp_path))
    source = tmp_path / "edited.py"
    stamp = time.time_ns()
    for value in (b"1", b"2", b"3"):
        source.write_bytes(b"def value(payload): return b'%s'" % value)
        os.utime(source, ns=(stamp, stamp))
        assert run("edited:value").payload == value
    assert not (tmp_path / "__pycache__").exists()


def test_a_log_of_the_forkserver_that_cannot_be_opened(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with LocalPool(1, log=tmp_path / "absent" / "log") as pool, pytest.raises(EnvironmentProblem):
        pool.submit(Job(1, "entries:null", b""))
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(
    ("ended", "answer", "outcome", "reason"),
    [
        ({"status": 0}, (wire.OK, b"fine"), "ok", ""),
        ({"status": 0, "timed_out": True}, (wire.OK, b"fine"), "ok", ""),
        ({"status": 1}, (wire.OK, b"fine"), "crashed", "exited with status 1 without an answer"),
        ({"status": -9}, (wire.OK, b"fine"), "crashed", "ended by SIGKILL"),
        ({"status": -9, "timed_out": True}, None, "timeout", "no answer after 2.5 s"),
        ({"status": -9, "starved": True}, None, "memory", "killed by the kernel: out of memory"),
        ({"status": -11, "starved": True}, None, "crashed", "ended by SIGSEGV"),
        ({"status": -40}, None, "crashed", "ended by signal 40"),
        ({"status": 0, "starved": True}, (wire.ERROR, b"E: cc1plus"), "memory", "E: cc1plus"),
        ({"status": 1, "note": "no process"}, None, "crashed", "no process"),
        ({"status": 1, "note": "no fork", "starved": True}, None, "memory", "no fork"),
        ({"status": 0}, None, "nothing", "exited without an answer"),
        ({"status": 0}, (wire.CRASHED, b"cc1plus"), "crashed", "cc1plus"),
        ({"status": 0}, (wire.KILLED, b"cc1plus"), "crashed", "cc1plus"),
        ({"status": 0, "starved": True}, (wire.KILLED, b"cc1plus"), "memory", "cc1plus"),
        ({"status": 0, "starved": True}, (wire.CRASHED, b"cc1plus"), "crashed", "cc1plus"),
        ({"status": 0}, (wire.MEMORY, b"cc1plus"), "memory", "cc1plus"),
    ],
)
def test_verdicts(
    ended: dict[str, Any], answer: tuple[bytes, bytes] | None, outcome: str, reason: str
) -> None:
    job = Job(1, "m:f", b"", timeout=2.5)
    said = wire.ANSWER.pack(answer[0], 7, len(answer[1])) + answer[1] if answer else b""
    ending = wire.Ended(id=1, seconds=1.0, cpu_seconds=0.5, peak_bytes=3, **ended)
    end = verdict(job, ending, said)
    assert (end.outcome, end.reason) == (outcome, reason)
    assert end.peak_bytes == (7 if answer else 3)
    assert end.payload == (b"fine" if outcome == "ok" else b"")


def test_half_an_answer_is_none() -> None:
    said = wire.ANSWER.pack(wire.OK, 0, 5) + b"fin"
    ending = wire.Ended(id=1, status=0, seconds=1.0, cpu_seconds=0.5, peak_bytes=3)
    for length in (len(said), 4, 0):
        end = verdict(Job(1, "m:f", b""), ending, said[:length])
        assert (end.outcome, end.reason) == ("nothing", "exited without an answer")


def test_more_ends_than_a_socket_holds(tmp_path: Path) -> None:
    """The pool sends jobs, and reads nothing meanwhile, while those that it has sent end."""
    count = 600
    ended: set[int] = set()

    def many() -> None:
        with LocalPool(count, log=tmp_path / "log") as pool:
            for number in range(count):
                pool.submit(Job(number, "entries:null", b"x" * 3000))
            while len(ended) < count:
                ended.update(end.id for end in pool.wait(10) if end.outcome == "ok")

    thread = threading.Thread(target=many, daemon=True)
    thread.start()
    thread.join(60)
    assert len(ended) == count
