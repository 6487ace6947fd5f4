"""The kernels that this package ships, compiled ahead of time.

    from . import _aot

    _aot.get("scale", target="cpu", T="float", BLOCK=128).path     # one target, exactly
    _aot.select("scale", tensor.device, T="float", BLOCK=128)      # the best one for a device
    scales = _aot.table("scale", tensor.device)                    # a dict, for hot paths
    scales[128, "float"]                                           # in the order of scales.columns

Importing reads nothing; the first look-up reads `manifest.json` beside this file, and of it only
what was asked for. Every function may be called from any thread. Nothing is ever written but by
`install`, and never beside this file.

Values of a row are compared with their types: True is not 1 and "1" is not 1; 1 finds 1.0 unless
both are shipped; a list and a tuple are the same; the order of columns never matters.

`metadata["rows"]` of a captured launch are the declared rows that made it: `get` and `select` also
find it by one of those, where that row made no other launch.
"""

# The files of this folder are copied verbatim into wheels, so that they need nothing but Python
# 3.9: they import the standard library alone, and other packages in functions that need those.

from __future__ import annotations

import os
from _thread import RLock  # `threading` takes milliseconds to import

from ._artifact import ROOT, Artifact, AssumptionError, KernelNotFound, ManifestError, absolute
from ._devices import compatible, machine_of
from ._kernel import ABSENT, Kernel
from ._manifest import Manifest

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Rows = dict[tuple[Any, ...], Artifact]
else:
    Rows = dict

__all__ = [
    "ABSENT",
    "Artifact",
    "AssumptionError",
    "KernelNotFound",
    "ManifestError",
    "Table",
    "compatible",
    "get",
    "install",
    "manifest",
    "select",
    "stats",
    "strict",
    "table",
    "verify",
]


class _KeyNotFound(KernelNotFound, KeyError):
    """A miss of a table, which as a mapping owes its reader a KeyError."""


class Table(Rows):
    """Row values, in the order of `columns`, -> Artifact.

    A plain dict underneath, which is what makes it fast: here True and 1 are one key.
    """

    __slots__ = ("columns", "kernel")

    def __init__(self, kernel: str, columns: tuple[str, ...]) -> None:
        super().__init__()
        self.kernel = kernel
        self.columns = columns

    def __missing__(self, key: object) -> Artifact:
        asked = f"{key!r}, in the order {self.columns!r}"
        raise _KeyNotFound(f"kernel {self.kernel!r} has no variant {asked}, for this device")


def get(name: str, /, target: str, **row: object) -> Artifact:
    """The artifact of one variant for exactly one target.

    Raises KernelNotFound, or ManifestError.
    """
    missed = 1
    try:
        kernel = _asked(name)
        found = kernel.find((target,), row, None)
        if found is None:
            raise kernel.miss([t for t in kernel.targets if t == target], target, row, None)
        missed = 0
        return found
    finally:
        _state.count(missed)


def select(name: str, /, device: object = None, **row: object) -> Artifact:
    """The artifact of one variant for the best shipped target that a device can run.

    `device` is a torch device, the index of a GPU, or a target such as `cuda:sm_90`, which stands
    for a device of that capability; `cpu` is this machine's processor. Without one it is the
    current GPU where torch is already imported, finds one, and the kernel ships for GPUs at all;
    else this processor. torch is imported for a torch device or an index only.

    Raises KernelNotFound, or ManifestError.
    """
    missed = 1
    try:
        kernel = _asked(name)
        machine = machine_of(device, kernel.targets)
        targets = kernel.ranked(machine)
        found = kernel.find(targets, row, machine)
        if found is None:
            raise kernel.miss(targets, device, row, machine)
        missed = 0
        return found
    finally:
        _state.count(missed)


def table(name: str, /, device: object = None) -> Table:
    """All variants that `select` would find for a device. Build it once and keep it.

    Columns are sorted by name. Raises KernelNotFound where no shipped target fits, ValueError
    where two rows differ only as True and 1 do, or 1 and 1.0: ask `get` or `select` for those.
    """
    kernel = _asked(name)
    machine = machine_of(device, kernel.targets)
    targets = kernel.ranked(machine)
    if not targets:
        raise kernel.miss(targets, device, {}, machine)
    shipped = [a for target in targets for a in kernel.shipped(target, machine)]
    found = Table(name, tuple(sorted({column for a in shipped for column in a.row})))
    for artifact in shipped:
        key = tuple(artifact.row.get(column, ABSENT) for column in found.columns)
        other = found.setdefault(key, artifact)
        if other is not artifact and other.target == artifact.target:
            raise ValueError(f"{other!r} and {artifact!r} cannot be told apart in a table")
    return found


def stats() -> dict[str, int]:
    """How many look-ups `get` and `select` have made, and how many of them raised a miss."""
    with _state.lock:
        return {"lookups": _state.lookups, "misses": _state.misses}


def manifest() -> dict[str, Any]:
    """The parsed manifest; treat it as read-only. Raises ManifestError."""
    found = _opened()
    with _state.lock:
        return found.parsed()


def verify() -> list[str]:
    """Paths, relative to the manifest, of shipped files that are missing or have other bytes.

    Reads every file. Empty where all is well. Raises ManifestError.
    """
    kernels = manifest()["kernels"]
    try:
        shipped: dict[str, str] = {
            entry["path"]: entry["sha256"]
            for kernel in kernels.values()
            for variant in kernel["variants"]
            for entry in variant["files"].values()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ManifestError(f"the manifest in {ROOT} is damaged ({error!r})") from error
    return sorted(path for path, digest in shipped.items() if _sha256(path) != digest)


def strict() -> bool:
    """Whether `AOT_RUNTIME=strict` was set when this was first asked: no fall-back to a JIT."""
    if _state.strict is None:
        value = os.environ.get("AOT_RUNTIME", "").strip().lower()
        if value not in ("", "strict"):
            import warnings

            warnings.warn(f"AOT_RUNTIME={value!r} is ignored: only 'strict' is known", stacklevel=2)
        _state.strict = value == "strict"
    return _state.strict


def install(*backends: str) -> None:
    """Make shipped kernels visible to the ordinary launches of their languages. Idempotent.

    `backends` limits it to kernels of those, such as "triton"; default: all that ship.
    Imports no language that is not imported already. Without effect where no kernel of such a
    language is shipped. In strict mode raises KernelNotFound where one is shipped that this
    runtime cannot make visible. Triton asks this package at each launch that it would compile;
    FlyDSL looks into a folder that shipped entries are copied to, see `_flydsl.py`.
    """
    by_backend: dict[str, list[str]] = {}
    for name, backend in _opened().backends().items():
        by_backend.setdefault(backend, []).append(name)
    asked = _LAUNCHED.intersection(backends) if backends else _LAUNCHED
    for backend in sorted(asked & by_backend.keys()):
        hook = _HOOKS.get(backend)
        if hook is not None:
            hook(by_backend[backend])
        elif strict():
            names = ", ".join(by_backend[backend])
            raise KernelNotFound(f"launches of {names} ({backend}) would compile anew")


def _hook_triton(names: list[str]) -> None:
    from . import _triton

    _triton.install([_asked(name) for name in names])


def _hook_flydsl(names: list[str]) -> None:
    from . import _flydsl

    _flydsl.install([_asked(name) for name in names])


_LAUNCHED = {"triton", "flydsl"}
"""Backends whose kernels are launched through their language, which would compile them."""
_HOOKS: dict[str, Callable[[list[str]], None]] = {
    "flydsl": _hook_flydsl,
    "triton": _hook_triton,
}
"""Backend -> what makes its kernels, given by name, visible; called at each `install`."""


class _State:
    """All that changes in this module."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.manifest: Manifest | None = None
        self.kernels: dict[str, Kernel] = {}
        self.strict: bool | None = None
        self.lookups = 0
        self.misses = 0

    def count(self, missed: int) -> None:
        with self.lock:
            self.lookups += 1
            self.misses += missed

    def renew_lock(self) -> None:
        self.lock = RLock()


_state = _State()
if hasattr(os, "register_at_fork"):
    # Another thread may hold the lock while this one forks, and does not exist in the child.
    os.register_at_fork(after_in_child=_state.renew_lock)


def _opened() -> Manifest:
    if _state.manifest is None:
        with _state.lock:
            if _state.manifest is None:
                _state.manifest = Manifest(os.path.join(ROOT, "manifest.json"))
    return _state.manifest


def _asked(name: str) -> Kernel:
    found = _state.kernels.get(name)
    if found is None:
        with _state.lock:
            found = _state.kernels.get(name) or _shelved(name)
            _state.kernels[name] = found
    return found


def _shelved(name: str) -> Kernel:
    there = _opened().backends()
    if name in there:
        return Kernel(_opened().shelf(name))
    near = _close(name, there)
    hint = f"; did you mean {near!r}?" if near else ""
    raise KernelNotFound(f"no kernel {name!r} is shipped{hint}\n  shipped: {_list(there)}")


def _list(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f", and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more if names else "none"


def _close(word: str, words: Iterable[str]) -> str | None:
    import difflib

    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)), None)


def _sha256(path: str) -> str | None:
    import hashlib

    digest = hashlib.sha256()
    try:
        with open(absolute(path), "rb", buffering=0) as stream:
            while True:
                chunk = stream.read(1 << 20)
                if not chunk:
                    return digest.hexdigest()
                digest.update(chunk)
    except OSError:
        return None
