"""Whether a package asks what GPU there is while it is imported.

A launch capture describes its target from before the first module is imported. A package that was
imported earlier, asked then, and kept the answer would have the capture launch for another GPU;
so would one that kept the function to ask with. For trials, in processes that are thrown away.
"""

import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

_DRIVER = "triton.runtime.driver"
_VERSIONS = ("cuda", "hip")


class Probes:
    """Stands before every query that stand_in.py answers for a target."""

    def __init__(self) -> None:
        self._asked: list[str] = []
        self._watched: dict[str, object] = {}
        """What a capture replaces, by name."""
        self._references: dict[str, int] = {}
        """How many there were to each before the package was imported."""
        self._armed: set[str] = set()

    def begin(self) -> None:
        """The next package is about to be imported."""
        self.arm()
        self._asked.clear()
        for name in self._watched:
            self._references[name] = self._count(name)

    def arm(self) -> None:
        """Stand before the queries of what has been imported meanwhile."""
        for name, stand in (("torch", self._before_torch), (_DRIVER, self._before_triton)):
            module = sys.modules.get(name)
            if module is None or name in self._armed:
                continue
            if not getattr(module.__spec__, "_initializing", False):
                self._armed.add(name)
                stand(module)

    def end(self) -> str:
        """What it asked, or kept to ask later; empty where it did not."""
        if self._asked:
            return f"asks {self._asked[0]}"
        kept = [n for n, before in self._references.items() if self._count(n) > before]
        return f"keeps {kept[0]}" if kept else ""

    def _count(self, name: str) -> int:
        return sys.getrefcount(self._watched[name])

    def _before_torch(self, torch: ModuleType) -> None:
        from aot_build.backends.triton.stand_in import replaced

        for owner, name in replaced(torch):
            found = getattr(owner, name, None)
            if found is None:
                continue
            told = f"{owner.__name__}.{name}"
            if owner is torch.cuda and not isinstance(found, type):
                found = self._noting(told, found)
                setattr(owner, name, found)
            self._watched[told] = found
            del found
            self._references[told] = self._count(told)
        # Constants are read without a call: the module itself tells.
        torch.version.__class__ = self._telling(torch.version.__name__)

    def _before_triton(self, driver: ModuleType) -> None:
        driver._create_driver = self._noting("triton's driver", driver._create_driver)  # type: ignore[attr-defined]

    def _noting(self, told: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def noting(*args: Any, **kwargs: Any) -> Any:
            self._asked.append(told)
            return function(*args, **kwargs)

        return noting

    def _telling(self, told: str) -> type[ModuleType]:
        asked = self._asked

        class Telling(ModuleType):
            def __getattribute__(self, name: str) -> Any:
                if name in _VERSIONS:
                    asked.append(f"{told}.{name}")
                return super().__getattribute__(name)

        return Telling
