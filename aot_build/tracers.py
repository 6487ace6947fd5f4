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
    folders: Sequence[Path],
    toolchains: Mapping[str, Toolchain],
    emit: Emit,
) -> Library:
    """The library to trace actions with; one that is none where settings or the system refuse.

    It is kept in the first of the folders from which programs can load it: a shared disk may be
    mounted `noexec`.
    """
    if not settings.tracer:
        return Library("", "tracer = false")
    # The compiler that is found for kernels anyway: it makes a library of C as well.
    cxx = toolchains.get("cxx")
    reason = ""
    for folder in folders:
        library = build(folder, env, cxx.command if cxx else ())
        if library:
            return library
        reason = reason or library.reason
    emit(Notice(f"without the tracer, less is known of what actions read: {reason}"))
    return Library("", reason)
