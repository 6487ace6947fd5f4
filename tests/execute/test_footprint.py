"""What a tree of processes occupies."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from aot_build.execute import footprint
from aot_build.execute.footprint import tree_bytes

MIB = 1 << 20
HUNGRY = "import sys, time; x = b'x' * (64 << 20); print('fed', flush=True); time.sleep(60)"
"""The shell's child, so that the tree has two processes."""


@pytest.fixture
def tree() -> Iterator[int]:
    """The id of a shell whose child occupies 64 MiB."""
    command = ["sh", "-c", '"$0" -c "$1"; true', sys.executable, HUNGRY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == b"fed\n"
        yield shell.pid
        os.killpg(shell.pid, 9)


def test_the_child_counts(tree: int) -> None:
    assert 64 * MIB < tree_bytes(tree) < 128 * MIB


def test_without_proc_too(tree: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "_has_proc", lambda: False)
    monkeypatch.setattr(os, "readlink", _refused)
    assert 64 * MIB < tree_bytes(tree) < 128 * MIB


def _refused(path: str) -> str:
    raise AssertionError(f"{path} was asked for")


@pytest.mark.parametrize("has_proc", [True, False])
def test_who_is_gone_occupies_nothing(has_proc: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    monkeypatch.setattr(footprint, "_has_proc", lambda: has_proc)
    assert tree_bytes(gone.pid) == 0
