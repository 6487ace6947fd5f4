"""From a request to an open workspace: settings are read once, in the driver."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from aot_build.backends.registry import Registry
from aot_build.errors import EnvironmentProblem
from aot_build.events import Emit
from aot_build.request import Request
from aot_build.settings import Settings, load
from aot_build.workspace import Workspace


def load_settings(request: Request) -> tuple[Settings | None, Registry]:
    """The settings of a request's project; None where nothing is declared.

    Raises InputError, and EnvironmentProblem where the project's path is no text.
    """
    _check_path(request.project)
    registry = Registry()
    given = {
        "targets": request.targets,
        "mode": request.mode,
        "jobs": request.jobs,
        "keep-going": request.keep_going,
        "package-dir": request.package_dir,
    }
    settings = load(
        Path(request.project),
        backends=registry.options(),
        serves=registry.serves,
        env=os.environ,
        config_settings=request.config_settings,  # type: ignore[arg-type]
        command_line={name: value for name, value in given.items() if value is not None},
    )
    return settings, registry


def _check_path(project: str) -> None:
    """What is kept of a build, and sent to workers, names its files in UTF-8."""
    try:
        project.encode()
    except UnicodeEncodeError as error:
        raise EnvironmentProblem(
            "the project's path is no text in the encoding of this locale",
            {"project": project},
            "rename the folder, or set PYTHONUTF8=1 if its name is UTF-8",
        ) from error


def open_workspace(
    settings: Settings, registry: Registry, emit: Emit, tokens: Sequence[str] = ()
) -> Workspace:
    """The rooms for a build; close it. `tokens` are addresses of the pot that it takes from."""
    return Workspace(settings, registry, dict(os.environ), emit, tokens)


def requirements(project: str, config_settings: Mapping[str, object]) -> list[str]:
    """What an isolated build of a project needs besides: requirements of its kernels' backends.

    Asked for targets that are enabled. Raises InputError for wrong settings.
    """
    request = Request(project=os.path.realpath(project), config_settings=config_settings)
    settings, registry = load_settings(request)
    built = [spec for spec in settings.kernels if spec.targets] if settings else []
    backends = {spec.backend for spec in built}
    return sorted({need for name in backends for need in registry.get(name).requires})
