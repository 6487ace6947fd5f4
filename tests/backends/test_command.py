"""How calls of compilers end."""

import os
import subprocess
from pathlib import Path

import pytest

from aot_build.backends.command import HELD_BYTES, run
from aot_build.core.ending import CRASHED, KILLED, MEMORY, ProgramDied


def shell(script: str, folder: Path) -> str | None:
    return run(["sh", "-c", script], dict(os.environ), folder)


def test_what_it_says_goes_to_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert shell("echo fine; echo 'a warning' >&2", tmp_path) is None
    said = capfd.readouterr().out.splitlines()
    assert said[1:] == ["fine", "a warning"] and said[0].startswith("+ sh -c")


def test_an_error_is_what_it_says(tmp_path: Path) -> None:
    assert shell("echo 'a.cpp:1: error: no'; exit 1", tmp_path) == "a.cpp:1: error: no"
    assert shell("exit 3", tmp_path) == "sh exited with status 3"


@pytest.mark.parametrize(
    ("script", "end", "text"),
    [
        ("kill -SEGV $$", CRASHED, "sh was ended by SIGSEGV"),
        ("echo so far; kill -KILL $$", KILLED, "sh was ended by SIGKILL\nso far"),
        (
            "echo 'g++: fatal error: Killed signal terminated program cc1plus'; exit 1",
            KILLED,
            "sh failed with status 1, as a program that it called was ended\n"
            "g++: fatal error: Killed signal terminated program cc1plus",
        ),
        (
            "echo 'virtual memory exhausted: Cannot allocate memory'; exit 1",
            MEMORY,
            "sh ran out of memory\nvirtual memory exhausted: Cannot allocate memory",
        ),
    ],
)
def test_who_did_not_end_by_itself(tmp_path: Path, script: str, end: str, text: str) -> None:
    with pytest.raises(ProgramDied) as died:
        shell(script, tmp_path)
    assert (died.value.end, str(died.value)) == (end, text)


def test_a_program_that_is_absent(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run([str(tmp_path / "absent")], {}, tmp_path)


def test_a_hundred_megabytes_are_not_held(tmp_path: Path) -> None:
    said = shell("echo first; head -c 100000000 /dev/zero | tr '\\0' x; echo; echo last; exit 1",
                 tmp_path)  # fmt: skip
    assert said is not None and len(said) < 4 * HELD_BYTES
    first, *_, note, _, last = said.splitlines()
    assert (first, last) == ("first", "last")
    assert note.startswith("[aot_build: 99")


def test_the_user_reads_what_is_shown(tmp_path: Path) -> None:
    words = ["sh", "-c", "echo /proc/self/cwd/a.cu; exit 1"]
    said = run(words, dict(os.environ), tmp_path, lambda text: text.replace("/proc/self/cwd/", ""))
    assert said == "a.cu"


@pytest.mark.compiler
def test_the_real_driver_of_gcc(tmp_path: Path) -> None:
    """Its own words, in a test that kills the compiler proper."""
    found = subprocess.run(["g++", "-print-prog-name=cc1plus"], capture_output=True, text=True)
    if not os.path.isabs(found.stdout.strip()):
        pytest.skip("needs gcc's own driver")
    wrapper = tmp_path / "cc1plus"
    for name, end in (("KILL", KILLED), ("SEGV", CRASHED)):
        wrapper.write_text(f"#!/bin/sh\nkill -{name} $$\n")
        wrapper.chmod(0o755)
        (tmp_path / "a.cpp").write_text("int a;\n")
        with pytest.raises(ProgramDied) as died:
            run(["g++", f"-B{tmp_path}", "-c", "a.cpp"], dict(os.environ), tmp_path)
        assert died.value.end == end and "terminated program" in str(died.value)
