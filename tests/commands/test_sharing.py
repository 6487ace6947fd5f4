"""What the front end lends to the tools of other commands, and takes back."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from setuptools import Extension

from aot_build.commands.sharing import Sharing
from aot_build.execute.jobserver import Jobserver, open_tokens


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAKEFLAGS", "NVCC_THREADS", "NVCC_APPEND_FLAGS", "MAX_JOBS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sharing(tmp_path: Path) -> Iterator[Sharing]:
    found = Sharing.of(tmp_path, [])
    assert found is not None
    yield found
    found.close()


def test_everything_is_as_it_was(sharing: Sharing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_JOBS", "7")
    before = dict(os.environ)
    sharing.enter()
    assert "MAX_JOBS" not in os.environ
    assert sharing.addresses[0] in os.environ["MAKEFLAGS"]
    sharing.leave()
    assert dict(os.environ) == before


def test_what_the_project_sets_meanwhile_stays(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    sharing.enter()
    os.environ["MAKEFLAGS"] = "-s"
    os.environ["PATH"] = "/first" + os.pathsep + os.environ["PATH"]
    sharing.close()
    assert os.environ["MAKEFLAGS"] == "-s"
    assert os.environ["PATH"].startswith("/first")
    assert "/tools" not in os.environ["PATH"]
    del os.environ["MAKEFLAGS"]


def test_below_another_jobserver_there_is_nothing_to_lend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "outer")
    monkeypatch.setenv("MAKEFLAGS", f" -j2 --jobserver-auth=fifo:{tmp_path / 'outer'}")
    assert Sharing.of(tmp_path, []) is None


def test_a_token_for_each_thread_but_one(sharing: Sharing) -> None:
    driver = open_tokens(sharing.addresses, 3)
    assert isinstance(driver, Jobserver)
    inside = threading.Semaphore(0)
    leave = threading.Event()

    def work() -> None:
        with sharing.slot():
            inside.release()
            leave.wait(60)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        assert inside.acquire(timeout=60)
    assert not driver.take()
    assert not inside.acquire(timeout=0.2)
    leave.set()
    for thread in threads:
        thread.join(60)
    assert driver.take()
    assert driver.take()
    assert not driver.take()
    driver.close()


@pytest.mark.nvcc
@pytest.mark.parametrize(
    ("arguments", "variable", "told"),
    [
        ({"nvcc": ["--threads", "4"]}, "", True),
        (["-t=2"], "", True),
        ({"cxx": ["-O3"], "nvcc": ["-O3"]}, "", False),
        ([], "4", True),
        (None, "", False),
    ],
)
def test_nvcc_with_threads_is_told_of_the_pot(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: object,
    variable: str,
    told: bool,
) -> None:
    if os.system(f"{shutil.which('nvcc')} --help | grep -q -e --jobserver") != 0:
        pytest.skip("needs an nvcc that knows --jobserver")
    monkeypatch.setenv("NVCC_THREADS", variable)
    monkeypatch.setenv("NVCC_APPEND_FLAGS", "-lineinfo")
    extension = Extension("demo", [])
    extension.extra_compile_args = arguments  # torch takes a dict, too
    sharing = Sharing.of(tmp_path, [extension])
    assert sharing is not None
    sharing.enter()
    assert os.environ["NVCC_APPEND_FLAGS"] == ("-lineinfo --jobserver" if told else "-lineinfo")
    sharing.close()
    assert os.environ["NVCC_APPEND_FLAGS"] == "-lineinfo"
