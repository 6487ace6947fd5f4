"""aot_build: compile GPU and CPU kernels ahead of time, once, while the wheel builds.

Importing this package imports nothing else: a build in which nothing changed is over before an
import of `typing` would be.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aot_build._version import VERSION as __version__
    from aot_build.frontend import Build, build, plan, start
    from aot_build.jobs import JobResult, run_jobs_parallel

__all__ = ["Build", "JobResult", "__version__", "build", "plan", "run_jobs_parallel", "start"]

_PLACES = {
    "Build": ("aot_build.frontend", "Build"),
    "start": ("aot_build.frontend", "start"),
    "build": ("aot_build.frontend", "build"),
    "plan": ("aot_build.frontend", "plan"),
    "run_jobs_parallel": ("aot_build.jobs", "run_jobs_parallel"),
    "JobResult": ("aot_build.jobs", "JobResult"),
    "__version__": ("aot_build._version", "VERSION"),
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module, attribute = _PLACES[name]
    found: object = getattr(importlib.import_module(module), attribute)
    # A submodule of the same name (build.py, plan.py) must not take the place of the function.
    globals()[name] = found
    return found
