"""What the PEP 517 front end asked for with `-C aot.key=value`, for the commands that run inside.

setuptools hands config settings to no command, so our backend leaves them here for the length of
one hook call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

Settings = Mapping[str, str | list[str]]
PREFIX = "aot."

_current: Settings = {}


def config_settings() -> Settings:
    """The `aot.*` settings of the hook call under way; empty outside of one."""
    return _current


@contextlib.contextmanager
def asking(settings: Settings) -> Iterator[None]:
    """Have `config_settings` return `settings` inside."""
    global _current
    before, _current = _current, settings
    try:
        yield
    finally:
        _current = before
