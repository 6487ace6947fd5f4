"""The one shape of errors, told whole."""

import pytest

from aot_build import errors
from aot_build.errors import EnvironmentProblem, InputError, did_you_mean, nearest


def test_the_shape_of_an_error() -> None:
    error = EnvironmentProblem(
        "toolchain not found for kernel 'gemm'",
        {"target": "cuda:sm_90a", "searched": "$CUDA_HOME, PATH"},
        "set CUDA_HOME, or drop cuda:sm_90a from [tool.aot-build] targets",
    )
    assert str(error) == (
        "toolchain not found for kernel 'gemm' (environment)\n"
        "  target:   cuda:sm_90a\n"
        "  searched: $CUDA_HOME, PATH\n"
        "hint: set CUDA_HOME, or drop cuda:sm_90a from [tool.aot-build] targets"
    )


def test_fields_of_several_lines_stay_aligned_and_none_is_left_out() -> None:
    error = InputError("bad", {"a": "one\ntwo", "gone": None, "long": "", "n": 3})
    assert str(error) == "bad (input)\n  a:    one\n        two\n  long: \n  n:    3"


def test_an_error_without_fields_is_one_line() -> None:
    assert str(errors.InternalError("broken")) == "broken (internal)"


@pytest.mark.parametrize(
    ("kind", "status"),
    [("InputError", 2), ("EnvironmentProblem", 2), ("KernelsFailed", 1), ("Interrupted", 130),
     ("InternalError", 1)],
)  # fmt: skip
def test_exit_status(kind: str, status: int) -> None:
    error = getattr(errors, kind)("x")
    assert isinstance(error, errors.AotBuildError)
    assert error.exit_status == status


def test_the_nearest_word() -> None:
    assert nearest("relase", ["debug", "release"]) == "release"
    assert nearest("zzz", ["debug", "release"]) is None
    assert did_you_mean("relase", ["debug", "release"]) == "did you mean 'release'?"
    assert did_you_mean("zzz", ["release", "debug"]) == "valid: debug, release"
    assert did_you_mean("zzz", []) == "none is valid here"
