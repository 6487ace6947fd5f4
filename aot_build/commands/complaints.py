"""Our errors in setuptools' words, so that a user reads a message and not a traceback.

`distutils.core.run_commands` turns its own errors into `SystemExit("error: ...")`; anything else
reaches the user, and pip, as a traceback.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from setuptools import errors

from aot_build.errors import AotBuildError


@contextlib.contextmanager
def in_words_of_setuptools() -> Iterator[None]:
    """Raise what is raised inside as a `setuptools.errors` class of the same meaning."""
    try:
        yield
    except AotBuildError as error:
        raise _translated(error) from error


def _translated(error: AotBuildError) -> Exception:
    classes: dict[str, type[Exception]] = {
        "input": errors.OptionError,
        "environment": errors.PlatformError,
        "build": errors.CompileError,
    }
    return classes.get(error.kind, errors.BaseError)(str(error))
