"""What the forkserver imports for all later jobs."""

from pathlib import Path

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


def test_jobs_run_while_modules_are_tried(pool: LocalPool, tmp_path: Path) -> None:
    slow = tmp_path / "slow_import.py"
    slow.write_text("import time; time.sleep(0.5)")
    pool.submit(Job(1, "entries:null", b""))
    pool.wait()
    pool.preload(["slow_import"])
    pool.submit(Job(2, "entries:null", b""))
    assert pool.wait(0.4)[0].outcome == "ok"
