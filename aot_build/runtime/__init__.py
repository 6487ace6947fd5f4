"""The kernels that this package ships, compiled ahead of time.

    from . import _aot

    _aot.get("scale", target="cpu", T="float", BLOCK=128).path     # one target, exactly
    _aot.select("scale", tensor.device, T="float", BLOCK=128)      # the best one for a device
    scales = _aot.table("scale", tensor.device)                    # a dict, for hot paths
    scales[128, "float"]                                           # in the order of scales.columns

Importing reads nothing; the first look-up reads `manifest.json` beside this file, and a kernel's
variants are indexed when that kernel is first asked for. Every function may be called from any
thread. Nothing is ever written.

Values of a row are compared with their types: True is not 1 and "1" is not 1; 1 finds 1.0 unless
both are shipped; a list and a tuple are the same; the order of columns never matters.
"""

# This file is copied verbatim into wheels, so that they need nothing but Python 3.9: it is one
# module, imports the standard library alone, and is longer than the other files for that reason.

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = [
    "ABSENT",
    "Artifact",
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

_VERSION = 1
_ROOT = os.path.dirname(os.path.abspath(__file__))


class ManifestError(RuntimeError):
    """`manifest.json` is missing, damaged, or of a version that this module does not read."""


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


class _KeyNotFound(KernelNotFound, KeyError):
    """A miss of a table, which as a mapping owes its reader a KeyError."""


class _Absent:
    """The type of ABSENT."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()
"""Stands in the keys of a table for a column that a row does not have."""


class Artifact:
    """What was compiled for one variant and one target. Treat `row` and `metadata` as read-only."""

    __slots__ = ("_files", "kernel", "metadata", "row", "target")

    def __init__(self, kernel: str, variant: Mapping[str, Any]) -> None:
        self.kernel = kernel
        self.target: str = variant["target"]
        self.row: dict[str, Any] = {n: _tupled(v) for n, v in variant["row"].items()}
        self.metadata: dict[str, Any] = variant.get("metadata", {})
        self._files: dict[str, Any] = variant["files"]

    @property
    def files(self) -> dict[str, str]:
        """Relative name -> absolute path."""
        return {name: _absolute(entry["path"]) for name, entry in self._files.items()}

    @property
    def path(self) -> str:
        """The only file, else the folder that holds them all."""
        if not self._files:
            raise ManifestError(f"{self!r} ships no file")
        name, entry = next(iter(self._files.items()))
        if len(self._files) == 1:
            return _absolute(entry["path"])
        return _absolute(entry["path"][: -len(name) - 1])

    @property
    def bytes(self) -> _Bytes:
        """The content of the only file. Raises ValueError where there are several."""
        if len(self._files) != 1:
            raise ValueError(f"{self!r} has {len(self._files)} files: {', '.join(self._files)}")
        with open(self.path, "rb") as stream:
            return stream.read()

    def __repr__(self) -> str:
        return f"<{self.kernel} {_show(self.row)} for {self.target}>"


class Table(dict[tuple[Any, ...], Artifact]):
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
    return _counted(name, lambda kernel: [target] if target in kernel.targets else [], target, row)


def select(name: str, /, device: object = None, **row: object) -> Artifact:
    """The artifact of one variant for the best shipped target that a device can run.

    `device` is a torch device, the index of a GPU, or a target such as `cuda:sm_90`, which stands
    for a device of that capability; `cpu` is this machine's processor. Without one it is the
    current GPU where torch is already imported, finds one, and the kernel ships for GPUs at all;
    else this processor. torch is imported for a torch device or an index only.

    Raises KernelNotFound, or ManifestError.
    """
    return _counted(name, lambda kernel: _ranked(kernel, device), device, row)


def table(name: str, /, device: object = None) -> Table:
    """All variants that `select` would find for a device. Build it once and keep it.

    Columns are sorted by name. Raises KernelNotFound where no shipped target fits, ValueError
    where two rows differ only as True and 1 do, or 1 and 1.0: ask `get` or `select` for those.
    """
    kernel = _kernel(name)
    targets = _ranked(kernel, device)
    if not targets:
        raise _not_found(kernel, targets, device, {})
    fit = [v for target in targets for v in kernel.variants if v["target"] == target]
    shipped = [kernel.artifact(variant) for variant in fit]
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
    if _state.manifest is None:
        with _state.lock:
            if _state.manifest is None:
                _state.manifest = _read(os.path.join(_ROOT, "manifest.json"))
    return _state.manifest


def verify() -> list[str]:
    """Paths, relative to the manifest, of shipped files that are missing or have other bytes.

    Reads every file. Empty where all is well. Raises ManifestError.
    """
    shipped = {
        entry["path"]: entry["sha256"]
        for kernel in manifest()["kernels"].values()
        for variant in kernel["variants"]
        for entry in variant["files"].values()
    }
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


def install() -> None:
    """Make shipped kernels visible to the ordinary launches of their languages. Idempotent.

    Without effect where no kernel of such a language is shipped. In strict mode raises
    KernelNotFound where one is shipped that this module cannot make visible.
    """
    by_backend: dict[str, list[str]] = {}
    for name, kernel in manifest()["kernels"].items():
        by_backend.setdefault(kernel["backend"], []).append(name)
    for backend in sorted(_LAUNCHED & by_backend.keys()):
        hook = _HOOKS.get(backend)
        if hook is not None:
            hook(by_backend[backend])
        elif strict():
            names = ", ".join(by_backend[backend])
            raise KernelNotFound(f"launches of {names} ({backend}) would compile anew")


_LAUNCHED = {"triton", "flydsl"}
"""Backends whose kernels are launched through their language, which would compile them."""
_HOOKS: dict[str, Callable[[list[str]], None]] = {}
"""Backend -> what makes its kernels, given by name, visible; called at each `install`."""


def compatible(targets: Iterable[str], machine: tuple[Any, ...]) -> list[str]:
    """Those of `targets` that a machine can run, best first.

    `machine` is `("cuda", major, minor)`, `("hip", "gfx942")`, or `("cpu", arches)` with all
    names that the processor answers to, the empty one for the baseline included.

    CUDA: suffix `a` needs that very capability; plain and `f` need the same major and a minor of
    at least theirs; `a` is preferred to `f`, `f` to plain, then the higher minor. HIP: the very
    name. CPU: the latest of its names.
    """
    ranks = {target: _rank(target, machine) for target in targets}
    fit = [(rank, target) for target, rank in ranks.items() if rank is not None]
    return [target for _, target in sorted(fit, reverse=True)]


def _rank(target: str, machine: tuple[Any, ...]) -> tuple[int, int] | None:
    """The higher the better; None where it does not run."""
    kind, _, arch = target.partition(":")
    if kind != machine[0]:
        return None
    if kind == "cpu":
        return (_CPU_ARCHES.index(arch), 0) if arch in machine[1] else None
    if kind == "hip":
        return (0, 0) if arch.partition(":")[0] == machine[1] else None
    major, minor, suffix = _capability(arch)
    if major != machine[1] or minor > machine[2] or (suffix == "a" and minor != machine[2]):
        return None
    return ("", "f", "a").index(suffix), minor


def _capability(arch: str) -> tuple[int, int, str]:
    """`sm_103f` -> 10, 3, "f"; a major of -1, which no device has, where it is nothing such."""
    digits = arch[3:].rstrip("af")
    suffix = arch[3 + len(digits) :]
    if not arch.startswith("sm_") or not digits.isdigit() or suffix not in ("", "f", "a"):
        return -1, 0, ""
    return int(digits[:-1] or 0), int(digits[-1]), suffix


_X86_FLAGS = {
    "x86-64": "",
    "x86-64-v2": "cx16 lahf_lm pni popcnt sse4_1 sse4_2 ssse3",
    "x86-64-v3": "abm avx avx2 bmi1 bmi2 f16c fma movbe xsave",
    "x86-64-v4": "avx512bw avx512cd avx512dq avx512f avx512vl",
}
_ARM_FLAGS = {
    "armv8-a": "",
    "armv8.2-a": "asimdrdm atomics crc32 dcpop",
    "armv9-a": "asimddp fcma flagm flagm2 frint ilrcpc jscvt lrcpc paca pacg sb sve sve2 uscat",
}
"""What each level adds to the one before, as Linux spells it (x86-64 psABI; Arm ARM)."""
_CPU_ARCHES = ["", *_X86_FLAGS, *_ARM_FLAGS]
_MACOS_FLAGS = {"sse3": "pni", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "avx1.0": "avx",
                "lahf": "lahf_lm", "lzcnt": "abm"}  # fmt: skip


def _cpu_arches(processor: str, flags: frozenset[str]) -> frozenset[str]:
    """All names that a processor with these flags answers to."""
    x86, arm = processor in ("x86_64", "amd64"), processor in ("aarch64", "arm64")
    found = [""]
    for arch, needed in (_X86_FLAGS if x86 else _ARM_FLAGS if arm else {}).items():
        if not flags.issuperset(needed.split()):
            break
        found.append(arch)
    return frozenset(found)


def _cpu_flags() -> frozenset[str]:
    """Linux names of what this processor can do; empty where nobody tells."""
    try:
        if sys.platform == "darwin":
            return _macos_flags()
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            # Up to the first core only: the file takes milliseconds to read on large hosts.
            found = (line for line in lines if line.lower().startswith(("flags", "features")))
            return frozenset(next(found, "").partition(":")[2].split())
    except OSError:
        return frozenset()


def _macos_flags() -> frozenset[str]:
    import subprocess

    names = ("features", "leaf7_features", "extfeatures")
    command = ["/usr/sbin/sysctl", "-n", *(f"machdep.cpu.{name}" for name in names)]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return frozenset(_MACOS_FLAGS.get(word, word) for word in found.lower().split())


def _this_cpu() -> tuple[Any, ...]:
    if _state.cpu is None:
        import platform

        _state.cpu = "cpu", _cpu_arches(platform.machine().lower(), _cpu_flags())
    return _state.cpu


def _machine(device: object, kinds: set[str]) -> tuple[Any, ...]:
    """What `compatible` needs to know of a device; `kinds` are those that the kernel ships for."""
    if device is None:
        torch = sys.modules.get("torch") if kinds - {"cpu"} else None
        there = getattr(torch, "cuda", None)
        return _gpu(None) if there is not None and there.is_available() else _this_cpu()
    if isinstance(device, str):
        return _named_machine(device)
    if isinstance(device, int) and not isinstance(device, bool):
        return _gpu(device)
    kind = getattr(device, "type", None)
    if not isinstance(kind, str):
        raise TypeError(f"not a torch device, an index or a target: {device!r}")
    if kind == "cuda":
        return _gpu(getattr(device, "index", None))
    return _this_cpu() if kind == "cpu" else (kind,)


def _named_machine(text: str) -> tuple[Any, ...]:
    """A target, or a device as torch writes it: `cpu`, `cuda`, `cuda:1`."""
    kind, _, arch = text.partition(":")
    if arch == "" or arch.isdigit():
        if kind in ("cuda", "hip"):
            return _gpu(int(arch) if arch else None)
        return _this_cpu() if kind == "cpu" else (kind,)
    if kind == "cuda":
        return ("cuda", *_capability(arch)[:2])
    if kind == "cpu":
        return "cpu", _levels(arch)
    return kind, arch.partition(":")[0]


def _levels(arch: str) -> frozenset[str]:
    """A named processor also runs what was compiled for the earlier ones of its family."""
    for family in (list(_X86_FLAGS), list(_ARM_FLAGS)):
        if arch in family:
            return frozenset(["", *family[: family.index(arch) + 1]])
    return frozenset()


def _gpu(index: int | None) -> tuple[Any, ...]:
    """Raises ImportError without torch, and what torch raises where there is no such GPU."""
    import torch

    index = torch.cuda.current_device() if index is None else index
    if torch.version.hip:
        return "hip", torch.cuda.get_device_properties(index).gcnArchName.partition(":")[0]
    return ("cuda", *torch.cuda.get_device_capability(index))


class _Kernel:
    """The variants of one kernel, as the manifest has them, indexed by row."""

    __slots__ = ("_index", "_made", "name", "targets", "variants")

    def __init__(self, name: str, variants: list[dict[str, Any]]) -> None:
        self.name = name
        self.variants = variants
        self.targets = sorted({variant["target"] for variant in variants})
        self._made: dict[int, Artifact] = {}
        # Rows that Python calls equal share an entry, those with True and 1 included: taking
        # them apart on a hit costs one row, doing so here would cost thousands.
        self._index: dict[object, list[dict[str, Any]]] = {}
        for variant in variants:
            self._index.setdefault(_key(variant["row"]), []).append(variant)

    def artifact(self, variant: dict[str, Any]) -> Artifact:
        found = self._made.get(id(variant))
        return found or self._made.setdefault(id(variant), Artifact(self.name, variant))

    def find(self, targets: list[str], row: Mapping[str, object]) -> Artifact | None:
        """The row in the first of the targets that has it."""
        try:
            equal = self._index.get(_key(row), ())
        except TypeError:  # a value without a hash is in no manifest
            return None
        typed = [variant for variant in equal if _same(variant["row"], row)]
        for target in targets:
            fit = [variant for variant in typed if variant["target"] == target]
            if len(fit) > 1:  # they differ as 1 and 1.0 do
                fit.sort(key=lambda variant: _spelled(variant["row"]) != _spelled(row))
            if fit:
                return self.artifact(fit[0])
        return None


class _State:
    """All that changes in this module."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.manifest: dict[str, Any] | None = None
        self.kernels: dict[str, _Kernel] = {}
        self.cpu: tuple[Any, ...] | None = None
        self.strict: bool | None = None
        self.lookups = 0
        self.misses = 0

    def renew_lock(self) -> None:
        self.lock = threading.RLock()


_Bytes = bytes
_state = _State()
if hasattr(os, "register_at_fork"):
    # Another thread may hold the lock while this one forks, and does not exist in the child.
    os.register_at_fork(after_in_child=_state.renew_lock)


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            found = json.loads(stream.read())
        version, _ = found["version"], found["kernels"].items()
    except FileNotFoundError:
        hint = "its kernels were never built, or were left out when it was installed"
        raise ManifestError(f"no {path}: {hint}") from None
    except OSError as error:
        raise ManifestError(f"cannot read {path}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(f"{path} is damaged ({error!r}): install the package anew") from error
    if version != _VERSION:
        raise ManifestError(f"{path} has version {version!r}, this module reads {_VERSION}")
    return found  # type: ignore[no-any-return]


def _kernel(name: str) -> _Kernel:
    found = _state.kernels.get(name)
    if found is None:
        with _state.lock:
            found = _state.kernels.get(name) or _index(name)
            _state.kernels[name] = found
    return found


def _index(name: str) -> _Kernel:
    kernels = manifest()["kernels"]
    if name not in kernels:
        near = _close(name, kernels)
        hint = f"; did you mean {near!r}?" if near else ""
        raise KernelNotFound(f"no kernel {name!r} is shipped{hint}\n  shipped: {_list(kernels)}")
    try:
        return _Kernel(name, kernels[name]["variants"])
    except (KeyError, TypeError, AttributeError) as error:
        text = f"the manifest in {_ROOT} is damaged at kernel {name!r} ({error!r})"
        raise ManifestError(text) from error


def _counted(
    name: str, targets_of: Callable[[_Kernel], list[str]], asked: object, row: dict[str, object]
) -> Artifact:
    """Find a row, and keep the statistics."""
    missed = True
    try:
        kernel = _kernel(name)
        targets = targets_of(kernel)
        found = kernel.find(targets, row)
        if found is None:
            raise _not_found(kernel, targets, asked, row)
        missed = False
        return found
    finally:
        with _state.lock:
            _state.lookups += 1
            _state.misses += missed


def _ranked(kernel: _Kernel, device: object) -> list[str]:
    kinds = {target.partition(":")[0] for target in kernel.targets}
    return compatible(kernel.targets, _machine(device, kinds))


def _not_found(
    kernel: _Kernel, targets: list[str], asked: object, row: Mapping[str, object]
) -> KernelNotFound:
    if targets:
        message = f"kernel {kernel.name!r} has no variant {_show(row)} for {', '.join(targets)}"
    else:
        where = "this machine" if asked is None else str(asked)
        message = f"kernel {kernel.name!r} ships nothing for {where}"
    return KernelNotFound(message, lambda: _nearest(kernel, targets, row))


def _nearest(kernel: _Kernel, targets: list[str], row: Mapping[str, object]) -> str:
    import heapq

    def distance(variant: dict[str, Any]) -> tuple[float, ...]:
        foreign, other = variant["target"] not in targets, variant["row"]
        apart = [_gap(row.get(n, ABSENT), other.get(n, ABSENT)) for n in {*row, *other}]
        return sum(gap > 0 for gap in apart) + foreign, foreign, sum(apart)

    near = heapq.nsmallest(3, kernel.variants, key=distance)
    shown = "\n             ".join(f"{_show(v['row'])} for {v['target']}" for v in near)
    return f"\n  nearest:   {shown}\n  ships for: {', '.join(kernel.targets)}"


def _gap(asked: object, shipped: object) -> float:
    """0 for equal values, less than 1 for numbers that are close, 1 for all else."""
    if _spelling(asked) == _spelling(shipped):  # == itself may raise, or give a tensor
        return 0.0
    for value in (asked, shipped):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return 1.0
    return abs(asked - shipped) / ((abs(asked) + abs(shipped)) or 1)  # type: ignore


def _key(row: Mapping[str, object]) -> frozenset[tuple[str, object]]:
    try:
        return frozenset(row.items())
    except TypeError:
        return frozenset([(name, _tupled(value)) for name, value in row.items()])


def _same(shipped: Mapping[str, object], asked: Mapping[str, object]) -> bool:
    return all(_frozen(value) == _frozen(asked[name]) for name, value in shipped.items())


def _frozen(value: object) -> object:
    """Equal for equal values only: in Python True == 1."""
    if isinstance(value, bool):
        return bool, value
    if isinstance(value, (list, tuple)):
        return tuple(map(_frozen, value))
    return value


def _tupled(value: object) -> object:
    return tuple(map(_tupled, value)) if isinstance(value, (list, tuple)) else value


def _spelled(row: Mapping[str, object]) -> dict[str, str]:
    return {name: _spelling(value) for name, value in row.items()}


def _spelling(value: object) -> str:
    return repr(_tupled(value))


def _show(row: Mapping[str, object]) -> str:
    return ", ".join(f"{n}={_shown(v)}" for n, v in sorted(row.items())) or "without columns"


def _shown(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _list(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f", and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more if names else "none"


def _close(word: str, words: Iterable[str]) -> str | None:
    import difflib

    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)), None)


def _absolute(path: str) -> str:
    return os.path.join(_ROOT, *path.split("/"))


def _sha256(path: str) -> str | None:
    import hashlib

    digest = hashlib.sha256()
    try:
        with open(_absolute(path), "rb", buffering=0) as stream:
            while True:
                chunk = stream.read(1 << 20)
                if not chunk:
                    return digest.hexdigest()
                digest.update(chunk)
    except OSError:
        return None
