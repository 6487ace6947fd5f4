"""PEP 517 and PEP 660 backend: setuptools' own, with `-C aot.key=value` and backend requirements.

    [build-system]
    requires = ["setuptools>=80", "aot-build"]
    build-backend = "aot_build.build_meta"

Projects that need neither may keep `setuptools.build_meta`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

# First: whoever called may be gone by the time that setuptools is imported.
from aot_build.commands.asked import PREFIX, asking  # isort: skip

from setuptools import build_meta as _setuptools

from aot_build.errors import AotBuildError

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = Mapping[str, str | list[str] | None] | None
"""pip gives a value as str, repeated ones as a list; build gives None for a key without one."""


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """setuptools' requirements, and those of the backends of the kernels to be built."""
    ours, theirs = split(config_settings)
    with asking(ours):
        return [*_setuptools.get_requires_for_build_wheel(theirs), *_backend_requirements()]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    """As for a wheel."""
    return get_requires_for_build_wheel(config_settings)


def get_requires_for_build_sdist(config_settings: Settings = None) -> list[str]:
    """setuptools' requirements: an sdist compiles nothing."""
    ours, theirs = split(config_settings)
    with asking(ours):
        return _setuptools.get_requires_for_build_sdist(theirs)


def prepare_metadata_for_build_wheel(
    metadata_directory: str, config_settings: Settings = None
) -> str:
    """The name of the `.dist-info` folder made."""
    ours, theirs = split(config_settings)
    with asking(ours):
        return _setuptools.prepare_metadata_for_build_wheel(metadata_directory, theirs)


def prepare_metadata_for_build_editable(
    metadata_directory: str, config_settings: Settings = None
) -> str:
    """The name of the `.dist-info` folder made."""
    ours, theirs = split(config_settings)
    with asking(ours):
        return _setuptools.prepare_metadata_for_build_editable(metadata_directory, theirs)


def build_wheel(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """The name of the wheel made."""
    ours, theirs = split(config_settings)
    with asking(ours):
        return _setuptools.build_wheel(wheel_directory, theirs, metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """The name of the editable wheel made."""
    ours, theirs = split(config_settings)
    with asking(ours):
        return _setuptools.build_editable(wheel_directory, theirs, metadata_directory)


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    """The name of the sdist made."""
    ours, theirs = split(config_settings)
    with asking(ours):
        return _setuptools.build_sdist(sdist_directory, theirs)


def split(
    settings: Settings,
) -> tuple[dict[str, str | list[str]], dict[str, str | list[str] | None]]:
    """The `aot.*` settings, and the rest, which is setuptools'. A key without value is "true"."""
    ours: dict[str, str | list[str]] = {}
    theirs: dict[str, str | list[str] | None] = {}
    for key, value in (settings or {}).items():
        if key.startswith(PREFIX):
            ours[key] = "true" if value is None else value
        else:
            theirs[key] = value
    return ours, theirs


def _backend_requirements() -> list[str]:
    from aot_build.commands.asked import config_settings
    from aot_build.opening import requirements

    try:
        return requirements(os.getcwd(), config_settings())
    except AotBuildError as error:
        raise SystemExit(f"error: {error}") from None
