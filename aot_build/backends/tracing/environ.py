"""Stands in the place of `os.environ` and of copies of it: tells of each name that is looked up.

Taking all of it along, as `{**os.environ}` does for a subprocess, looks nothing up: of the copy it
is told what is asked of it where it can be, and of a plain dict what the function that made it
names.
"""

import os
import re
import sys
from collections.abc import Callable, ItemsView, Iterator, MutableMapping, ValuesView
from types import FrameType
from typing import Any

from aot_build.core.environment import WHOLE

_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_PASSED = ("_collections_abc", "collections", "collections.abc", "os", __name__)
"""Modules that ask for somebody else."""

Tell = Callable[[str, str | None], None]


class ListeningEnviron(MutableMapping[str, str]):
    """`os.environ`; `tell` hears of each name that is looked up, set or not."""

    def __init__(self, environ: MutableMapping[str, str], tell: Tell) -> None:
        self._environ = environ
        self._tell = tell
        self.changed: set[str] = set()
        """Names that were set or taken away."""
        self._copied: list[str] = []
        """Names that a copy in progress asks for next, the next one last."""
        self._copier: FrameType | None = None

    def forget(self) -> None:
        """Tell also of the names that were set so far."""
        self.changed.clear()

    def settle(self) -> None:
        """Who went through the names has ended: a copy has asked for the value of each."""
        copier, walked = self._copier, bool(self._copied)
        self._copier, self._copied = None, []
        if copier is not None:
            for name in (WHOLE,) if walked else _named_in(copier):
                self.tell(name)

    def tell(self, name: str) -> None:
        """Somebody asked for this name, here or in a copy."""
        if name not in self.changed:
            self._tell(name, self._environ.get(name))

    def __getitem__(self, name: object) -> str:
        if not isinstance(name, str):
            # `os.get_exec_path` asks with bytes, and lives on the TypeError that it is owed.
            return self._environ[name]  # type: ignore[index]
        if self._copied and self._copied[-1] == name:
            self._copied.pop()
        else:
            self.settle()
            self.tell(name)
        return self._environ[name]

    def __setitem__(self, name: str, value: str) -> None:
        self.changed.add(name)
        self._environ[name] = value

    def __delitem__(self, name: str) -> None:
        self.changed.add(name)
        del self._environ[name]

    def __iter__(self) -> Iterator[str]:
        self.settle()
        names = list(self._environ)
        self._copied, self._copier = names[::-1], _project_frame(sys._getframe(1))
        return iter(names)

    def __len__(self) -> int:
        return len(self._environ)

    def items(self) -> ItemsView[str, str]:
        """The project's code that goes through all of them reads them all; `subprocess` and
        packages go through them to hand them on."""
        self._tell_whole(sys._getframe(1))
        return super().items()

    def values(self) -> ValuesView[str]:
        """As `items`."""
        self._tell_whole(sys._getframe(1))
        return super().values()

    def _tell_whole(self, asker: FrameType) -> None:
        if _project_frame(asker) is not None:
            self.tell(WHOLE)

    def __getattr__(self, name: str) -> Any:
        # `copy` asks one that has no attributes yet.
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._environ, name)

    def __or__(self, other: Any) -> dict[str, str]:
        return CopiedEnviron(self, dict(self._environ) | dict(other), other)

    def __ror__(self, other: Any) -> dict[str, str]:
        return CopiedEnviron(self, dict(other) | dict(self._environ))

    def __ior__(self, other: Any) -> "ListeningEnviron":
        self.update(other)
        return self

    def copy(self) -> dict[str, str]:
        """As `os.environ.copy()`: a dict."""
        return CopiedEnviron(self, dict(self._environ))


class CopiedEnviron(dict[str, str]):
    """A copy: what it is asked for, `os.environ` was asked for. To change it changes it alone."""

    def __init__(self, origin: ListeningEnviron, values: Any, own: Any = ()) -> None:
        super().__init__(values)
        self._origin = origin
        self._own = set(own)

    def _ask(self, name: object) -> None:
        if isinstance(name, str) and name not in self._own:
            self._origin.tell(name)

    def __getitem__(self, name: str) -> str:
        self._ask(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self._ask(name)
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._ask(name)
        return super().get(name, default)

    def pop(self, name: str, *default: Any) -> Any:
        self._ask(name)
        self._own.add(name)
        return super().pop(name, *default)

    def setdefault(self, name: str, default: Any = None) -> Any:
        self._ask(name)
        return super().setdefault(name, default)

    def __setitem__(self, name: str, value: str) -> None:
        self._own.add(name)
        super().__setitem__(name, value)

    def copy(self) -> dict[str, str]:
        return CopiedEnviron(self._origin, self, self._own)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class BytesEnviron(MutableMapping[bytes, bytes]):
    """`os.environb`, over the same."""

    def __init__(self, environ: ListeningEnviron) -> None:
        self._environ = environ

    def __getitem__(self, name: bytes) -> bytes:
        return os.fsencode(self._environ[os.fsdecode(name)])

    def __setitem__(self, name: bytes, value: bytes) -> None:
        self._environ[os.fsdecode(name)] = os.fsdecode(value)

    def __delitem__(self, name: bytes) -> None:
        del self._environ[os.fsdecode(name)]

    def __iter__(self) -> Iterator[bytes]:
        return map(os.fsencode, self._environ)

    def __len__(self) -> int:
        return len(self._environ)

    def copy(self) -> dict[bytes, bytes]:
        """As `os.environb.copy()`."""
        return dict(self)


def _project_frame(frame: FrameType | None) -> FrameType | None:
    """Who asks, where that is the project's code: no module of Python's own or of a package."""
    while frame is not None and frame.f_globals.get("__name__") in _PASSED:
        frame = frame.f_back
    return None if frame is None or _of_others(frame.f_globals) else frame


def _named_in(frame: FrameType) -> list[str]:
    """What may be names of variables among the constants of a function."""
    found = (each for each in frame.f_code.co_consts if isinstance(each, str | bytes))
    return [name for each in found if _NAME.fullmatch(name := os.fsdecode(each))]


def _of_others(namespace: dict[str, Any]) -> bool:
    """Whether these are the globals of a module of Python's own, or of an installed package."""
    top = str(namespace.get("__name__")).partition(".")[0]
    return top in sys.stdlib_module_names or "-packages/" in str(namespace.get("__file__"))
