"""From a request to an open workspace: settings are read once, in the driver."""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from aot_build.backends.registry import Registry
from aot_build.errors import EnvironmentProblem, InputError
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


def declared_settings(request: Request) -> tuple[Settings, Registry]:
    """As `load_settings`; raises InputError where nothing is declared, too."""
    settings, registry = load_settings(request)
    if settings is None:
        raise InputError(
            "nothing is declared",
            {"file": Path(request.project) / "pyproject.toml"},
            "add a table [tool.aot-build] with kernels, or name the project: --project DIR",
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


def backends_built(request: Request, names: Collection[str]) -> dict[str, bool]:
    """Those of the named backends that a build of a request uses, for any of its targets; whether
    one of the kernels must be there. Raises InputError for wrong settings.

    A backend whose kernels all may be left out is none of them where its toolchain is not found.
    """
    settings, registry = load_settings(request)
    found: dict[str, bool] = {}
    for spec in settings.kernels if settings else ():
        if spec.targets and spec.backend in names:
            found[spec.backend] = found.get(spec.backend, False) or spec.required
    if settings is None or all(found.values()):
        return found
    workspace = open_workspace(settings, registry, lambda event: None)
    try:
        return {
            name: needed
            for name, needed in found.items()
            if needed or workspace.has_toolchain(registry.get(name).toolchain)
        }
    finally:
        workspace.close()


def requirements(project: str, config_settings: Mapping[str, object]) -> list[str]:
    """What an isolated build of a project needs besides: requirements of its kernels' backends.

    Asked for targets that are enabled, and for kernels that may not be left out. Raises InputError
    for wrong settings.
    """
    request = Request(project=os.path.realpath(project), config_settings=config_settings)
    settings, registry = load_settings(request)
    built = (
        [spec for spec in settings.kernels if spec.targets and spec.required] if settings else []
    )
    backends = {spec.backend for spec in built}
    return sorted({need for name in backends for need in registry.get(name).requires})
