"""Backends by name: the built-in ones, and those of other packages."""

import importlib
import importlib.metadata
from functools import cached_property
from typing import cast

import msgspec

from aot_build.backends.protocol import Backend
from aot_build.core.target import Target
from aot_build.errors import EnvironmentProblem, InputError, did_you_mean

GROUP = "aot_build.backends"
BUILT_IN = {
    "cpp": "aot_build.backends.cpp:BACKEND",
    "cuda": "aot_build.backends.cuda:BACKEND",
    "flydsl": "aot_build.backends.flydsl:BACKEND",
    "python": "aot_build.backends.python:BACKEND",
    "triton": "aot_build.backends.triton:BACKEND",
}


class Registry:
    """Loads a backend when it is first asked for."""

    def __init__(self) -> None:
        self._loaded: dict[str, Backend] = {}

    @cached_property
    def _places(self) -> dict[str, str]:
        """Where each backend is, by name; the metadata of everything installed is read for it."""
        found = importlib.metadata.entry_points(group=GROUP)
        return {entry.name: entry.value for entry in found} | BUILT_IN

    def names(self) -> list[str]:
        """Every backend that is installed."""
        return sorted(self._places)

    def get(self, name: str) -> Backend:
        """The backend. Raises InputError for an unknown name, EnvironmentProblem where its
        package does not import."""
        if name not in self._loaded:
            # A worker that needs a built-in one has no use for anybody's metadata.
            place = BUILT_IN.get(name) or self._places.get(name)
            if place is None:
                raise InputError(f"unknown backend {name!r}", hint=did_you_mean(name, self._places))
            self._loaded[name] = _load(name, place)
        return self._loaded[name]

    def options(self) -> dict[str, type[msgspec.Struct]]:
        """Each backend's own keys of a kernel table."""
        return {name: self.get(name).options for name in self._places}

    def serves(self, name: str, target: Target) -> bool:
        """Whether a backend compiles for a target."""
        return self.get(name).serves(target)


def _load(name: str, place: str) -> Backend:
    module, _, attribute = place.partition(":")
    try:
        found = importlib.import_module(module)
        return cast(Backend, getattr(found, attribute))
    except (ImportError, AttributeError) as error:
        raise EnvironmentProblem(
            f"backend {name!r} does not load",
            {"entry point": place, "error": f"{type(error).__name__}: {error}"},
            f"reinstall the package that provides {module.partition('.')[0]!r}",
        ) from error
