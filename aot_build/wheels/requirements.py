"""Exact requirements of a wheel: distributions without which its artifacts are never found.

A FlyDSL entry is looked up by a key that covers FlyDSL's own native libraries, so that it serves
one version alone. The line goes into METADATA and not into an sdist's PKG-INFO, which is built
from with whatever version is there then.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aot_build.errors import EnvironmentProblem, InputError, InternalError
from aot_build.layout import MANIFEST

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PINNED = {"flydsl": "flydsl"}
"""Backend -> the distribution that its artifacts are looked up by, under its name in metadata."""
_FIELD = "Requires-Dist:"


def pins(built: Mapping[str, bool]) -> dict[str, str]:
    """Distribution -> its version here, of the backends that a build uses.

    `built` says of each whether it must be there: without a distribution that may be missing, its
    kernels are left out, and the wheel requires nothing. Raises EnvironmentProblem for another one.
    """
    found = {}
    for backend in sorted(PINNED.keys() & built.keys()):
        name = PINNED[backend]
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if built[backend]:
                raise EnvironmentProblem(
                    f"{name} is not installed",
                    {"needed for": f"the metadata of a wheel with {backend} kernels"},
                    f"pip install {name}; for an isolated build add it to [build-system] requires,"
                    ' or let build-backend = "aot_build.build_meta" ask for it',
                ) from None
    return found


def shipped_pins(result: Path) -> set[tuple[str, str]]:
    """Distribution and version of what the artifacts of a result were made with."""
    return pins_of(json.loads((result / MANIFEST).read_bytes()))


def pins_of(manifest: Mapping[str, Any]) -> set[tuple[str, str]]:
    """The same of a parsed manifest."""
    kernels = manifest["kernels"]
    return {
        (PINNED[kernel["backend"]], str(made["version"]))
        for kernel in kernels.values()
        if kernel["backend"] in PINNED
        for variant in kernel["variants"]
        if (made := variant["metadata"].get(kernel["backend"]))
    }


def add_pins(metadata: Path, pins: Mapping[str, str]) -> None:
    """Have a METADATA file require exact versions; its own lines stay.

    Raises InputError where one of those rules a version out.
    """
    content = metadata.read_bytes().decode()
    head, gap, body = content.partition("\n\n")
    lines = head.splitlines()
    for name, version in sorted(pins.items()):
        own = list(_required(lines, name))
        for requirement in own:
            if not requirement.specifier.contains(version, prereleases=True):
                raise InputError(
                    f"the project's dependencies rule out the {name} that its kernels are built by",
                    {"dependency": requirement, "installed": f"{name} {version}"},
                    f"build with another {name}, or widen the dependency: the wheel requires"
                    f" {name}=={version} besides",
                )
        if not any(str(requirement.specifier) == f"=={version}" for requirement in own):
            at = max((n for n, line in enumerate(lines) if line.startswith(_FIELD)), default=-1)
            lines.insert(at + 1 if at >= 0 else len(lines), f"{_FIELD} {name}=={version}")
    if not gap:
        lines.append("")
    metadata.write_bytes(("\n".join(lines) + gap + body).encode())


def check_pins(metadata: Path, shipped: Iterable[tuple[str, str]]) -> None:
    """Raise InternalError where artifacts ship that a METADATA file does not require it for.

    It may have been prepared in another environment than the wheel was built in.
    """
    lines = metadata.read_bytes().decode().partition("\n\n")[0].splitlines()
    for name, version in sorted(shipped):
        pins = [str(requirement.specifier) for requirement in _required(lines, name)]
        if f"=={version}" not in pins:
            raise InternalError(
                f"the wheel's metadata do not require the {name} that its kernels were built by",
                {"built by": f"{name} {version}", "required": ", ".join(pins) or "none"},
                "prepare the metadata and build the wheel in one environment",
            )


def _required(lines: Iterable[str], name: str) -> Iterator[Requirement]:
    """What is required of a distribution here, without any extra."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    for line in lines:
        if line.startswith(_FIELD):
            found = Requirement(line[len(_FIELD) :].strip())
            here = found.marker is None or found.marker.evaluate({"extra": ""})
            if canonicalize_name(found.name) == name and here:
                yield found
