"""What was compiled for one variant and one target, and the errors of the runtime."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

ROOT = os.path.dirname(os.path.abspath(__file__))


class ManifestError(RuntimeError):
    """`manifest.json` is missing, damaged, or of a version that this runtime does not read."""


class KernelNotFound(LookupError):
    """Nothing that is shipped fits; the text names the nearest variants and the targets."""

    def __init__(self, message: str = "", explain: Callable[[], str] | None = None) -> None:
        super().__init__(message)
        self._explain = explain

    def __str__(self) -> str:
        # Ranking thousands of variants is for whoever reads the text, not for whoever catches
        # the error to fall back.
        return str(self.args[0]) + (self._explain() if self._explain else "")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self),)


class AssumptionError(ValueError):
    """An argument of a launch is not what the kernel was compiled for."""


class Artifact:
    """What was compiled for one variant and one target. Treat `row` and `metadata` as read-only."""

    __slots__ = ("_files", "kernel", "metadata", "row", "target")

    def __init__(self, kernel: str, variant: Mapping[str, Any]) -> None:
        self.kernel = kernel
        self.target: str = variant["target"]
        self.row: dict[str, Any] = {n: tupled(v) for n, v in variant["row"].items()}
        self.metadata: dict[str, Any] = variant.get("metadata") or {}
        self._files: dict[str, Any] = variant["files"]

    @property
    def files(self) -> dict[str, str]:
        """Relative name -> absolute path."""
        return {name: absolute(entry["path"]) for name, entry in self._files.items()}

    @property
    def digests(self) -> dict[str, str]:
        """Relative name -> SHA-256."""
        return {name: entry["sha256"] for name, entry in self._files.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """Relative name -> bytes that it was shipped with."""
        return {name: entry["size"] for name, entry in self._files.items()}

    def intact(self) -> bool:
        """Whether each file has the size that it was shipped with; `verify` reads them.

        Raises OSError where one is gone.
        """
        return list(self.sizes.values()) == [os.path.getsize(p) for p in self.files.values()]

    @property
    def path(self) -> str:
        """The only file, else the folder that holds them all."""
        if not self._files:
            raise ManifestError(f"{self!r} ships no file")
        name, entry = next(iter(self._files.items()))
        if len(self._files) == 1:
            return absolute(entry["path"])
        return absolute(entry["path"][: -len(name) - 1])

    @property
    def bytes(self) -> _Bytes:
        """The content of the only file. Raises ValueError where there are several."""
        if len(self._files) != 1:
            raise ValueError(f"{self!r} has {len(self._files)} files: {', '.join(self._files)}")
        with open(self.path, "rb") as stream:
            return stream.read()

    def load(self, device: object = None, symbol: str | None = None) -> Any:
        """A `ctypes.CDLL` of a library; of device code its `Launcher` (see `_launch.py`).

        `device` is a torch device or the index of a GPU; without one it is the current GPU.
        `symbol` names one of several kernels in a file, ValueError where it names none. Raises
        ImportError, naming the command that installs it, where the GPU's driver package is missing.
        """
        from . import _launch

        return _launch.load(self, device, symbol)

    def __repr__(self) -> str:
        return f"<{self.kernel} {show(self.row)} for {self.target}>"


_Bytes = bytes


def absolute(path: str) -> str:
    """The file that the manifest names by a relative path."""
    return os.path.join(ROOT, *path.split("/"))


def tupled(value: object) -> object:
    """A value of a row as it is compared and shown: with tuples for lists."""
    return tuple(map(tupled, value)) if isinstance(value, (list, tuple)) else value


def show(row: Mapping[str, object]) -> str:
    """A row for humans: `BLOCK=128, T=float`."""
    return ", ".join(f"{n}={_shown(v)}" for n, v in sorted(row.items())) or "without columns"


def _shown(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
