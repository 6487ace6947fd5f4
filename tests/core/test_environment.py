"""Which variables count, and for whom."""

import pytest

from aot_build import snapshot
from aot_build.core.compiler_env import ASKED, FIXED, LOADER_PATH, OBEYED, compiler_env, obeyed
from aot_build.core.environment import UNRECORDED, WHOLE, is_ambient, reads_all, shaping


def test_a_snapshot_calls_all_of_them_the_same() -> None:
    assert snapshot.WHOLE == WHOLE


@pytest.mark.parametrize("name", [*OBEYED, *ASKED, "CUDA_HOME", "TRITON_F32_DEFAULT", "CC", "A_B"])
def test_what_compilers_obey_is_not_ambient(name: str) -> None:
    assert not is_ambient(name)


@pytest.mark.parametrize(
    "name",
    ["TERM", "LC_ALL", "HOME", "PATH", "_", "GITHUB_RUN_ID", "OMP_NUM_THREADS",
     LOADER_PATH, "AOT_BUILD_JOBS", "PYTHONPATH", "COLLECT_GCC", "SSH_TTY"],
)  # fmt: skip
def test_what_is_ambient(name: str) -> None:
    assert is_ambient(name) and not is_ambient(f"MY_{name}")


@pytest.mark.parametrize("program", ["sh", "bash", "dash", "python3.12", "make", "gmake", "env"])
def test_what_takes_its_whole_environment(program: str) -> None:
    assert reads_all(program) and not reads_all(f"{program}-not") and not reads_all(f"x{program}")


def test_what_counts_of_a_whole_environment() -> None:
    env = {"Z": "1", "TERM": "x", "A": "", **dict.fromkeys(UNRECORDED, "x")}
    assert list(shaping(env).items()) == [("A", ""), ("Z", "1")]


def test_what_compilers_obey() -> None:
    env = {
        **dict.fromkeys(OBEYED, "x"),
        "CPATH": "",
        LOADER_PATH: "/lib",
        "OTHER": "x",
        "PATH": "/",
    }
    assert obeyed(env).keys() == {*OBEYED} - {"CPATH"}
    assert obeyed(env, ("library-path",)).keys() == {*OBEYED, LOADER_PATH} - {"CPATH"}
    assert compiler_env({"OTHER": "x", "CPATH": "/inc", "LC_ALL": "de_DE"}, "/tmp/x") == {
        **FIXED, "CPATH": "/inc", "HOME": "/tmp/x", "TMPDIR": "/tmp/x", "PATH": "/bin:/usr/bin",
    }  # fmt: skip
