"""Modes are lists that can be printed."""

import pytest

from aot_build.core.target import Target
from aot_build.errors import InputError
from aot_build.pipelines.modes import MODES, mode_flags, passes

CPU, V3 = Target("cpu"), Target("cpu", "x86-64-v3")


@pytest.mark.parametrize(
    ("mode", "flags"),
    [
        ("debug", ("-O0", "-g")),
        ("fast", ("-O1",)),
        ("release", ("-O3", "-DNDEBUG")),
        ("tune", ("-O3", "-DNDEBUG", "-fno-omit-frame-pointer", "-g1")),
    ],
)
def test_flags_of_each_mode(mode: str, flags: tuple[str, ...]) -> None:
    assert mode_flags(mode, CPU) == flags
    assert mode_flags(mode, V3) == (*flags, "-march=x86-64-v3")
    assert mode_flags(mode, Target("hip", "gfx942")) == flags


def test_all_modes_are_tested_and_differ() -> None:
    assert set(MODES) == {"debug", "fast", "release", "tune"}
    assert len({mode_flags(mode, CPU) for mode in MODES}) == len(MODES)


def test_passes_have_names_in_order() -> None:
    assert [p.name for p in passes("release", V3)] == ["optimise", "no-assertions", "arch"]
    assert [p.name for p in passes("release", CPU)] == ["optimise", "no-assertions"]


def test_an_unknown_mode_names_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        mode_flags("relaese", CPU)
    assert caught.value.hint == "did you mean 'release'?"
