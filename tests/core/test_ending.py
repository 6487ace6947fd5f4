"""How programs end, by what they really print."""

import itertools
import subprocess

import pytest

from aot_build.core.ending import (
    CRASHED,
    ERROR,
    KILLED,
    MEMORY,
    ProgramDied,
    end_of_exception,
    end_of_program,
)


@pytest.mark.parametrize(
    ("status", "said", "end"),
    [
        (-11, "", CRASHED),
        (-6, "Assertion failed", CRASHED),
        (-9, "", KILLED),
        (137, "", KILLED),
        (139, "", CRASHED),
        (1, "", ERROR),
        (255, "", ERROR),
        (1, "g++: fatal error: Killed signal terminated program cc1plus\ncompilation ter", KILLED),
        (
            1,
            "x86_64-linux-gnu-g++-12: internal compiler error: Segmentation fault signal "
            "terminated program cc1plus",
            CRASHED,
        ),
        (4, "g++: internal compiler error: Killed (program cc1plus)\nPlease submit", KILLED),
        (1, "a.cpp:1:2: internal compiler error: Segmentation fault\n", ERROR),
        (1, "a.cpp:1:2: internal compiler error: in expand_expr, at expr.cc:9\n", ERROR),
        (
            1,
            "a.cpp:1:2: internal compiler error: Segmentation fault\nThe bug is not "
            "reproducible, so it is likely a hardware or OS problem.",
            CRASHED,
        ),
        (1, "collect2: fatal error: ld terminated with signal 9 [Killed]", KILLED),
        (1, "collect2: error: ld terminated with signal 11 [Segmentation fault]", CRASHED),
        (1, "nvcc error   : 'cicc' died due to signal 9 (Kill signal)", KILLED),
        (1, "nvcc error   : 'ptxas' died due to signal 11 (Invalid memory reference)", CRASHED),
        (1, "clang++: error: unable to execute command: Killed", KILLED),
        (1, "clang: error: clang frontend command failed due to signal (use -v)", CRASHED),
        (1, "cc1plus: out of memory allocating 65536 bytes after a total of 7 bytes", MEMORY),
        (1, "\ncc1plus: out of memory allocating 65536 bytes after a total of 7 bytes", MEMORY),
        (1, "/usr/bin/ld: final link failed: memory exhausted", MEMORY),
        (1, "g++: fatal error: cannot execute 'cc1plus': vfork: Cannot allocate memory", MEMORY),
        (1, "virtual memory exhausted: Cannot allocate memory", MEMORY),
        (134, "LLVM ERROR: out of memory\nAllocation failed", MEMORY),
        (-6, "terminate called after throwing an instance of 'std::bad_alloc'\n", MEMORY),
        (1, "ptxas fatal   : Memory allocation failure", MEMORY),
        (1, "error: memory\nmemory allocation of 4096 bytes failed", MEMORY),
        (4, '"a.cu", line 3: catastrophic error: out of memory', MEMORY),
        # What quotes a source is an error like any other.
        (1, "a.cpp:1:2: error: #error out of memory", ERROR),
        (1, 'a.cpp:1:2: error: #error "Cannot allocate memory"', ERROR),
        (1, "a.cpp:3:9: error: 'bad_alloc' is not a member of 'std'", ERROR),
        (1, "    3 | throw std::bad_alloc(); // virtual memory exhausted", ERROR),
        (1, "a.cpp:1:2: error: static assertion failed: Killed signal terminated program x", ERROR),
        (1, "a.cu(3): error: ptxas fatal : Memory allocation failure is no identifier", ERROR),
    ],
)
def test_programs(status: int, said: str, end: str) -> None:
    assert end_of_program(status, f"first line\n{said}\n") == end


def _raised(*errors: BaseException) -> BaseException:
    """The last of them, each raised while the one before was handled."""
    for earlier, later in itertools.pairwise(errors):
        later.__context__ = earlier
    return errors[-1]


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (ValueError("out of memory"), ERROR),
        (MemoryError(), MEMORY),
        (OSError(12, "Cannot allocate memory"), MEMORY),
        (OSError(2, "No such file"), ERROR),
        (ProgramDied(KILLED, "g++"), KILLED),
        (subprocess.CalledProcessError(1, "g++"), ERROR),
        (subprocess.CalledProcessError(-11, "g++"), CRASHED),
        (subprocess.CalledProcessError(-9, "g++"), KILLED),
        (subprocess.CalledProcessError(1, "x", stderr=b"LLVM ERROR: out of memory\n"), MEMORY),
        (subprocess.CalledProcessError(1, "x", output="virtual memory exhausted\n"), MEMORY),
        (_raised(subprocess.CalledProcessError(-9, "ptxas"), RuntimeError("failed")), KILLED),
        (_raised(MemoryError(), KeyError("a"), RuntimeError("failed")), MEMORY),
    ],
)
def test_exceptions(error: BaseException, end: str) -> None:
    assert end_of_exception(error) == end
