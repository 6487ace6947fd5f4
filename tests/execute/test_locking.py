"""One file, locked between processes."""

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from aot_build import locking
from aot_build.locking import locked

OTHER = """
import sys
from aot_build.locking import locked
with locked(sys.argv[1], sys.argv[2] == "exclusive"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def free(path: Path, exclusive: bool) -> bool:
    """Whether the lock could be had at once."""
    with open(path, "rb") as stream:
        try:
            fcntl.flock(stream, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.parametrize(
    ("how", "for_readers", "for_writers"), [("shared", True, False), ("exclusive", False, False)]
)
def test_another_process_holds_it(
    tmp_path: Path, how: str, for_readers: bool, for_writers: bool
) -> None:
    path = tmp_path / "new" / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(locking.__file__).parents[1],
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert (free(path, False), free(path, True)) == (for_readers, for_writers)
        other.kill()
        other.wait()
        assert free(path, True)


def test_it_is_given_back_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(ValueError), locked(path, exclusive=True):
        assert not free(path, False)
        raise ValueError
    assert free(path, True)


def test_programs_started_inside_do_not_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, exclusive=True):
        started = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        assert free(path, True)
    finally:
        started.kill()
        started.wait()


def test_a_file_system_without_locks_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    entered = []
    with locked(tmp_path / "lock", exclusive=True):
        entered.append(True)
    assert entered == [True]


def test_a_system_without_locks_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "fcntl", None)
    with locked(tmp_path / "lock", exclusive=True):
        assert list(tmp_path.iterdir()) == []
