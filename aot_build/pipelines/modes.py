"""Modes for compiled languages: a mode is a list of pipelines, a pipeline a list of passes.

Here a pass is a choice of compiler flags; its condition looks at the target, never at globals.
"""

from collections.abc import Callable
from dataclasses import dataclass

from aot_build.core.target import Target
from aot_build.errors import InputError, did_you_mean


@dataclass(frozen=True, slots=True)
class Pass:
    """Named flags, and when they apply."""

    name: str
    flags: tuple[str, ...]
    when: Callable[[Target], bool] = lambda target: True


Pipeline = Callable[[], list[Pass]]


def _has_cuda(target: Target) -> bool:
    return target.kind == "cuda"


def optimise() -> list[Pass]:
    """Full optimisation; assertions off."""
    return [Pass("optimise", ("-O3",)), Pass("no-assertions", ("-DNDEBUG",))]


def optimise_lightly() -> list[Pass]:
    """What compiles soonest and is still no toy."""
    return [
        Pass("optimise-lightly", ("-O1",)),
        Pass("optimise-device-lightly", ("-Xptxas=-O1",), when=_has_cuda),
    ]


def keep_debuggable() -> list[Pass]:
    """Line information and assertions, nothing moved about."""
    return [
        Pass("no-optimisation", ("-O0",)),
        Pass("line-info", ("-g",)),
        Pass("debug-device", ("-G",), when=_has_cuda),
    ]


def keep_profilable() -> list[Pass]:
    """Frames and lines for a profiler."""
    return [
        Pass("frames", ("-fno-omit-frame-pointer",)),
        Pass("line-tables", ("-g1",)),
        Pass("line-tables-of-device", ("-lineinfo",), when=_has_cuda),
    ]


def tune_for_arch() -> list[Pass]:
    """The instruction set that the target names."""
    has_arch: Callable[[Target], bool] = lambda t: t.kind == "cpu" and bool(t.arch)  # noqa: E731
    return [Pass("arch", ("-march={arch}",), when=has_arch)]


MODES: dict[str, list[Pipeline]] = {
    "debug": [keep_debuggable, tune_for_arch],
    "fast": [optimise_lightly, tune_for_arch],
    "release": [optimise, tune_for_arch],
    "tune": [optimise, keep_profilable, tune_for_arch],
}


def passes(mode: str, target: Target) -> list[Pass]:
    """The passes of a mode that apply to a target, in order. Raises InputError."""
    if mode not in MODES:
        raise InputError(f"unknown mode {mode!r}", hint=did_you_mean(mode, MODES))
    return [p for pipeline in MODES[mode] for p in pipeline() if p.when(target)]


def mode_flags(mode: str, target: Target) -> tuple[str, ...]:
    """The compiler flags of a mode for a target."""
    return tuple(
        flag.replace("{arch}", target.arch) for p in passes(mode, target) for flag in p.flags
    )
