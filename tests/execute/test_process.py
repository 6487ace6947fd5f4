"""Who is whose child, and how to be rid of a whole tree."""

import importlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from aot_build import process
from tests.execute.trees import eventually

PARENT = (
    "import subprocess, sys, time; child = subprocess.Popen(['sleep', '60'], "
    "start_new_session=True); print(child.pid, flush=True); time.sleep(60)"
)


@pytest.fixture
def family() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A child, and the id of its child in another session."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        yield child, grandchild
        process.kill_tree(child.pid)
        process.kill(grandchild)


def test_children_and_descendants(family: tuple[subprocess.Popen[str], int]) -> None:
    child, grandchild = family
    assert child.pid in process.children(os.getpid())
    assert process.children(child.pid) == [grandchild]
    below = process.descendants(os.getpid())
    assert below.index(child.pid) < below.index(grandchild)


def test_a_kernel_that_lists_no_children(
    family: tuple[subprocess.Popen[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_lists_children", lambda: False)
    assert process.children(family[0].pid) == [family[1]]


def test_kill_tree_crosses_sessions(family: tuple[subprocess.Popen[str], int]) -> None:
    child, grandchild = family
    process.kill_tree(child.pid)
    assert child.wait() == -signal.SIGKILL
    assert eventually(lambda: _ended(grandchild))


def test_a_pidfd_is_readable_at_the_end(family: tuple[subprocess.Popen[str], int]) -> None:
    child, _ = family
    pidfd = process.open_pidfd(child.pid)
    assert pidfd is not None
    try:
        assert select.select([pidfd], [], [], 0)[0] == []
        child.kill()
        assert select.select([pidfd], [], [], 3)[0] == [pidfd]
    finally:
        os.close(pidfd)


def test_nobody() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert process.children(gone.pid) == []
    with pytest.raises(ProcessLookupError):
        process.open_pidfd(gone.pid)
    assert process.start_ticks(gone.pid) is None
    assert process.oom_score(gone.pid) is None
    process.kill(gone.pid)
    process.kill_tree(gone.pid)


def test_the_children_where_there_is_no_proc(
    family: tuple[subprocess.Popen[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Imported before the platform is another one: it chooses its own parts by that.
    importlib.import_module("psutil")
    before = process.children(os.getpid())
    monkeypatch.setattr(process, "_lists_children", lambda: False)
    monkeypatch.setattr(sys, "platform", "freebsd")
    assert process.children(family[0].pid) == [family[1]]
    # Whatever tells them is none of them.
    assert process.children(os.getpid()) == before


def test_a_younger_process_started_later(family: tuple[subprocess.Popen[str], int]) -> None:
    ours, theirs = process.start_ticks(os.getpid()), process.start_ticks(family[0].pid)
    assert ours is not None and theirs is not None and ours <= theirs


def test_threads_are_counted() -> None:
    before, stop = process.threads(), threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    assert process.threads() == before + 1
    stop.set()
    thread.join()


def test_subreaper_can_be_taken_back() -> None:
    before = process.is_subreaper()
    try:
        assert process.become_subreaper()
        assert process.is_subreaper()
        process.become_subreaper(False)
        assert not process.is_subreaper()
    finally:
        process.become_subreaper(before)


def _ended(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
