"""The tracer of a build: found in the cache, or compiled there once."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from aot_build.backends.tracing.library import Library, build
from aot_build.core.toolchain import Toolchain
from aot_build.events import Emit, Notice
from aot_build.settings import Settings

TRACERS = "tracer-v1"


def find_tracer(
    settings: Settings,
    env: Mapping[str, str],
    toolchains: Mapping[str, Toolchain],
    emit: Emit,
    places: Sequence[Path],
    scratch: Path,
) -> Library:
    """The library to trace actions with; one that is none where settings or the system refuse.

    It is kept in the first of the places from which programs can load it: a shared disk may be
    mounted `noexec`. Temporary files go to `scratch`.
    """
    if not settings.tracer:
        return Library("", "tracer = false")
    # The compiler that is found for kernels anyway: it makes a library of C as well.
    cxx = toolchains.get("cxx")
    reason = ""
    for place in places:
        library = build(place / TRACERS, env, cxx.command if cxx else (), scratch)
        if library:
            return library
        reason = reason or library.reason
    emit(Notice(f"without the tracer, less is known of what actions read: {reason}"))
    return Library("", reason)
