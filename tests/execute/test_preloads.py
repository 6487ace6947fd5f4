"""What the forkserver imports for all later jobs."""

import os
import signal
from pathlib import Path

import pytest

from aot_build.execute.pool import LocalPool
from aot_build.execute.protocol import Job
from tests.execute.trees import eventually

MODULES = ("harmless", "starts_thread", "ends_process", "not_importable", "colorsys")


def loaded(pool: LocalPool) -> list[bool]:
    pool.submit(Job(1, "entries:imported", " ".join(MODULES).encode()))
    ends = pool.wait()
    found: list[bool] = eval(ends[0].payload)
    return found


def settle(pool: LocalPool) -> None:
    """Refusals are told when all modules of a request are settled."""

    def told() -> bool:
        pool.wait(0)
        return bool(pool.refused)

    assert eventually(told, 10)


def test_only_what_is_harmless_is_preloaded(pool: LocalPool) -> None:
    assert loaded(pool) == [False] * 5
    pool.preload(MODULES)
    settle(pool)
    assert loaded(pool) == [True, False, False, False, True]
    assert pool.refused == {
        "starts_thread": "starts 1 thread(s)",
        "ends_process": "ends the process",
        "not_importable": "ImportError: not on this machine",
    }


def test_preloads_asked_for_before_the_first_job(pool: LocalPool) -> None:
    pool.preload(MODULES)
    assert loaded(pool)[1:4] == [False] * 3
    settle(pool)
    assert loaded(pool) == [True, False, False, False, True]


def test_trusted_modules_are_there_from_the_first_job(tmp_path: Path) -> None:
    with LocalPool(1, preload=("harmless", "no_such_module"), log=tmp_path / "log") as pool:
        assert loaded(pool)[0] is True
        assert pool.refused == {
            "no_such_module": "ModuleNotFoundError: No module named 'no_such_module'"
        }


def test_jobs_run_while_modules_are_tried(
    pool: LocalPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "slow_import.py").write_text("import time; time.sleep(30)")
    pool.submit(Job(1, "entries:null", b""))
    pool.wait()
    pool.preload(["slow_import"])
    pool.submit(Job(2, "entries:null", b""))
    assert pool.wait(20)[0].outcome == "ok"
    assert not pool.settled(["slow_import"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import subprocess; subprocess.run(['true'])", "starts a process"),
        ("import os; os.waitpid(os.fork() or os._exit(0), 0)", "starts a process"),
        ("try: open('/dev/nvidia0')\nexcept OSError: pass", "opens /dev/nvidia0"),
        ("import ctypes\ntry: ctypes.CDLL('libcuda.so.1')\nexcept OSError: pass",
         "loads libcuda.so.1"),
        ("import os; os.environ['SET_BY_A_MODULE'] = '1'", "sets SET_BY_A_MODULE"),
        ("import sys; sys.path.append('/nowhere')", "changes sys.path"),
        ("import os; os.chdir('/')", "changes the current folder"),
    ],
)  # fmt: skip
def test_what_would_change_or_look_for_more_than_a_module_is_refused(
    pool: LocalPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "meddles.py").write_text(text)
    # The one after it imports it too, and is judged by itself: a parent's children are spared.
    pool.preload(["meddles", "harmless"])
    pool.submit(Job(1, "entries:null", b""))
    pool.wait()
    settle(pool)
    assert loaded(pool)[0] is True
    assert pool.refused == {"meddles": reason}


def test_modules_of_a_package_that_is_refused_are_not_tried(
    pool: LocalPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("raise ImportError('no')")
    pool.preload(["package", "package.module", "harmless"])
    pool.submit(Job(1, "entries:null", b""))
    pool.wait()
    settle(pool)
    assert pool.refused == {
        "package": "ImportError: no",
        "package.module": "package: ImportError: no",
    }


def test_trusted_modules_wait_for_no_trial(
    pool: LocalPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "slow_import.py").write_text("import time; time.sleep(30)")
    pool.preload(["slow_import"])
    pool.submit(Job(1, "entries:null", b""))
    pool.wait()
    pool.preload(["harmless"], trusted=True)
    pool.wait(0)
    assert loaded(pool)[0] is True


def _is_settled(pool: LocalPool, module: str) -> bool:
    pool.wait(0)
    return pool.settled([module])


def test_a_forkserver_that_is_killed_at_an_import_is_replaced(
    pool: LocalPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the import submits no job that would have it replaced."""
    started = tmp_path / "started"
    code = f"import time; open({str(started)!r}, 'a').write('.'); time.sleep(0.5)"
    (tmp_path / "slow_import.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    pool.start()
    pool.preload(["slow_import"], trusted=True)
    assert not _is_settled(pool, "slow_import")
    assert eventually(started.exists, 10)
    assert pool.server_pid is not None
    os.kill(pool.server_pid, signal.SIGKILL)
    assert eventually(lambda: _is_settled(pool, "slow_import"), 20)
    assert started.read_text() == ".." and not pool.refused


def test_an_import_that_ends_every_forkserver_is_given_up(pool: LocalPool) -> None:
    pool.start()
    pool.preload(["ends_process"], trusted=True)
    assert eventually(lambda: _is_settled(pool, "ends_process"), 20)
    pool.submit(Job(1, "entries:null", b""))
    (end,) = pool.wait()
    assert end.outcome == "lost"
