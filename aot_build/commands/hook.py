"""Entry point `setuptools.finalize_distribution_options`: runs for every project on the machine.

It is imported by each setuptools process, whether or not the project declares kernels, so it
imports the standard library alone and returns at once where there is nothing for it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from setuptools import Distribution

PROJECT_FILE = "pyproject.toml"
MARK = "_aot_build_plugged"


def finalize(dist: Distribution) -> None:
    """Plug into a distribution whose project has a `[tool.aot-build]` table; once for each."""
    if getattr(dist, MARK, False):
        return
    project = os.path.abspath(dist.src_root or os.curdir)
    table = declared_table(project)
    if table is None:
        return
    setattr(dist, MARK, True)
    from aot_build.commands.plug import plug

    plug(dist, project, table)


def declared_table(project: str) -> dict[str, Any] | None:
    """The raw `[tool.aot-build]` table, or None where the project has none.

    A file that cannot be parsed counts as none: setuptools reports it better.
    """
    try:
        with open(os.path.join(project, PROJECT_FILE), "rb") as stream:
            content = stream.read()
    except OSError:
        return None
    if b"aot-build" not in content:
        return None
    import tomllib

    try:
        table = tomllib.loads(content.decode("utf-8")).get("tool", {}).get("aot-build")
    except (ValueError, AttributeError):
        return None
    return table if isinstance(table, dict) else None
