"""aot_build: compile GPU and CPU kernels ahead of time, once, while the wheel builds.

Importing this package imports the standard library alone, and little of it.
"""

from typing import TYPE_CHECKING, Any

from aot_build._version import VERSION as __version__

if TYPE_CHECKING:
    from aot_build.execute.jobs import JobResult, run_jobs_parallel
    from aot_build.frontend import Build, build, plan, start

_PLACES = {
    "Build": "aot_build.frontend",
    "start": "aot_build.frontend",
    "build": "aot_build.frontend",
    "plan": "aot_build.frontend",
    "run_jobs_parallel": "aot_build.execute.jobs",
    "JobResult": "aot_build.execute.jobs",
}
__all__ = ["Build", "JobResult", "__version__", "build", "plan", "run_jobs_parallel", "start"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PLACES[name]), name)
