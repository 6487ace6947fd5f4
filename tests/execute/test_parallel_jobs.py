"""run_jobs_parallel, as its users call it."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from aot_build import process
from aot_build.errors import InputError
from aot_build.jobs import run_jobs_parallel
from tests.execute.trees import eventually


def add(a, b=1):  # type: ignore[no-untyped-def]
    print("adding", a, b)
    return a + b


def crash_once(marker):  # type: ignore[no-untyped-def]
    if not os.path.exists(marker):
        Path(marker).touch()
        os.abort()
    return "recovered"


def count_and_raise(path):  # type: ignore[no-untyped-def]
    with open(path, "a") as stream:
        stream.write("x")
    raise ValueError


def nap(seconds):  # type: ignore[no-untyped-def]
    time.sleep(seconds)


def here(_):  # type: ignore[no-untyped-def]
    return os.getcwd()


def test_results_are_in_the_order_of_the_jobs() -> None:
    jobs = [{"a": 1, "b": 2}, {"a": 3}, (4, 5), [6], 7]
    results = run_jobs_parallel(add, jobs, max_workers=2)
    assert [result.value for result in results] == [3, 4, 9, 7, 8]
    assert [result.job for result in results] == jobs
    assert {result.outcome for result in results} == {"ok"}
    assert results[0].log == "adding 1 2\n"


def test_one_bad_job_never_costs_another() -> None:
    jobs = ["a", "raise", "b", "crash", "hang", "c"]
    results = run_jobs_parallel("calls:behave", jobs, max_workers=2, timeout=1, retries=0)
    assert [result.outcome for result in results] == [
        "ok", "error", "ok", "crashed", "timeout", "ok",
    ]  # fmt: skip
    assert results[1].reason == "ValueError: boom"
    assert results[1].log.startswith("Traceback")


def test_abnormal_ends_are_tried_again(tmp_path: Path) -> None:
    (result,) = run_jobs_parallel(crash_once, [str(tmp_path / "marker")])
    assert (result.outcome, result.value) == ("ok", "recovered")


def test_errors_are_not_tried_again(tmp_path: Path) -> None:
    (result,) = run_jobs_parallel(count_and_raise, [str(tmp_path / "count")])
    assert (result.outcome, result.reason) == ("error", "ValueError")
    assert (tmp_path / "count").read_text() == "x"


def test_what_cannot_travel_costs_only_itself() -> None:
    results = run_jobs_parallel("calls:odd", ["object", "keys", "bytes", object(), 1 << 70])
    assert [result.outcome for result in results] == ["error", "error", "ok", "error", "error"]
    assert results[2].value == b"\0\xff"


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


def test_what_cannot_be_shown_costs_only_itself() -> None:
    jobs = [{"a": Unspeakable()}, {"name": Unspeakable()}, Unspeakable(), {"a": 1}]
    results = run_jobs_parallel(add, jobs)
    assert [result.outcome for result in results] == ["error"] * 3 + ["ok"]
    assert [result.label for result in results] == ["dict", "dict", "Unspeakable", "a=1"]


def test_workers_stand_where_the_caller_does(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside.py").write_text("def name(n): return __name__ * n")
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    (result,) = run_jobs_parallel("beside:name", [{"n": 2}])
    assert result.value == "besidebeside"
    assert run_jobs_parallel(here, [1])[0].value == str(tmp_path)


def test_no_jobs() -> None:
    assert run_jobs_parallel(add, []) == []


def test_the_process_is_left_as_it_was() -> None:
    before = process.is_subreaper(), os.listdir("/proc/self/fd")
    run_jobs_parallel(add, [1])
    assert (process.is_subreaper(), os.listdir("/proc/self/fd")) == before


def test_calls_in_threads_leave_the_process_as_it_was() -> None:
    """The one that was first to begin is the first to end."""
    before = process.is_subreaper()
    process.become_subreaper(False)
    try:
        first = threading.Thread(target=run_jobs_parallel, args=(nap, [1.0]))
        first.start()
        assert eventually(process.is_subreaper, 10)
        run_jobs_parallel(nap, [2.0])
        first.join()
        assert not process.is_subreaper()
    finally:
        process.become_subreaper(before)


@pytest.mark.parametrize("worker", [lambda: 1, "no_colon", "", [].append])
def test_workers_that_cannot_be_named(worker: object) -> None:
    with pytest.raises(InputError, match="cannot be imported by name"):
        run_jobs_parallel(worker, [1])  # type: ignore[arg-type]


def test_max_workers_is_checked() -> None:
    with pytest.raises(InputError):
        run_jobs_parallel(add, [1], max_workers=0)


def overlapping(place, name=None):  # type: ignore[no-untyped-def]
    """How many were there at once, this one included."""
    mine = Path(place, str(os.getpid()))
    mine.touch()
    time.sleep(0.3)
    there = len(os.listdir(place))
    mine.unlink()
    return there


@pytest.mark.parametrize(
    ("pyproject", "env", "most"),
    [
        ("jobs = 3", {}, 3),
        ("jobs = 3", {"MAX_JOBS": "2"}, 2),
        ("jobs = 3", {"MAX_JOBS": "2", "AOT_BUILD_JOBS": "1"}, 1),
        (None, {"MAX_JOBS": "1"}, 1),
    ],
)
def test_the_settings_of_the_build_hold(tmp_path, monkeypatch, pyproject, env, most) -> None:  # type: ignore[no-untyped-def]
    for name in ("MAX_JOBS", "AOT_BUILD_JOBS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    if pyproject is not None:
        (tmp_path / "demo").mkdir()
        table = f'[tool.aot-build]\npackage = "demo"\n{pyproject}\n'
        (tmp_path / "pyproject.toml").write_text(table)
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    place = tmp_path / "place"
    place.mkdir()
    jobs = [{"place": str(place), "name": f"job {n}"} for n in range(6)]
    results = run_jobs_parallel(overlapping, jobs)
    assert max(result.value for result in results) <= most
    assert [result.label for result in results] == [f"job {n}" for n in range(6)]


def test_memory_is_admitted_as_in_a_build(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """The first of an unknown family has all the room that it is guessed to need."""
    monkeypatch.setenv("AOT_BUILD_MEM_PER_WORKER", str(1 << 50))
    results = run_jobs_parallel(overlapping, [str(tmp_path)] * 4, max_workers=4)
    assert results[0].value == 1 and results[0].peak_bytes < 1 << 30


def test_time_outs_and_retries_of_the_build_hold(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("AOT_BUILD_TIMEOUT", "0.5")
    monkeypatch.setenv("AOT_BUILD_RETRIES", "1")
    (result,) = run_jobs_parallel("calls:behave", ["hang"])
    assert (result.outcome, result.attempts, result.label) == ("timeout", 2, "hang")
    monkeypatch.setenv("AOT_BUILD_RETRIES", "many")
    with pytest.raises(InputError, match="retries"):
        run_jobs_parallel("calls:behave", ["hang"])


def test_a_job_without_a_name_is_labelled_by_its_parameters() -> None:
    results = run_jobs_parallel(add, [{"a": 1, "b": 2}, (3, 4), 5])
    assert [result.label for result in results] == ["a=1, b=2", "3, 4", "5"]


SCRIPT = """
from aot_build.jobs import run_jobs_parallel

def double(n):
    return 2 * n

{guard}
    print([(result.value, result.reason) for result in run_jobs_parallel(double, [1, 2])])
"""


@pytest.mark.parametrize("name", ["script.py", "script"])
def test_functions_of_the_main_script(tmp_path: Path, name: str) -> None:
    script = tmp_path / name
    script.write_text(SCRIPT.format(guard="if __name__ == '__main__':"))
    assert _python(str(script)) == "[(2, ''), (4, '')]\n"


def test_a_script_without_a_guard_is_told(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(guard="if True:"))
    said = _python(str(script))
    assert "run_jobs_parallel is called while a worker imports the script" in said
    assert "call it under `if __name__ == '__main__':`" in said


def test_a_module_started_by_name(tmp_path: Path) -> None:
    (tmp_path / "tool.py").write_text(SCRIPT.format(guard="if __name__ == '__main__':"))
    assert _python("-m", "tool", cwd=tmp_path) == "[(2, ''), (4, '')]\n"


def test_what_was_typed_in_has_no_source() -> None:
    code = SCRIPT.format(guard="if True:")
    finished = subprocess.run(
        [sys.executable, "-c", code], env=_env(), capture_output=True, text=True
    )
    assert finished.returncode == 1
    assert "put it into a file" in finished.stderr


def _python(*arguments: str, cwd: Path | None = None) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=_env(), cwd=cwd, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(process.__file__).parent.parent)}
