"""Which of the shipped targets a machine runs, and what machine there is."""

from __future__ import annotations

import functools
import sys

from ._artifact import Artifact

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


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


def runs(artifact: Artifact, machine: tuple[Any, ...]) -> bool:
    """Whether a machine that fits an artifact's target runs the very code that was emitted for it.

    Compilers emit code for a narrower architecture than they were asked for: what Triton makes of
    `cuda:sm_100` is `sm_100a`, which an sm_103 does not run.
    """
    kind, arch = artifact.target.partition(":")[0], artifact.metadata.get("arch")
    if not isinstance(arch, str) or kind == "cpu":
        return True
    if kind == "cuda" and _capability(arch)[0] < 0:  # words of a compiler of the project's own
        return True
    return _rank(f"{kind}:{arch}", machine) is not None


@functools.cache
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


@functools.cache
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


_cpu: tuple[Any, ...] | None = None


def this_cpu() -> tuple[Any, ...]:
    """This machine's processor, as `compatible` takes it."""
    global _cpu
    if _cpu is None:
        import platform

        _cpu = "cpu", _cpu_arches(platform.machine().lower(), _cpu_flags())
    return _cpu


def machine_of(device: object, targets: Iterable[str]) -> tuple[Any, ...]:
    """What `compatible` needs to know of a device; `targets` are what a kernel ships for."""
    if device is None:
        gpus = any(target.partition(":")[0] != "cpu" for target in targets)
        torch = sys.modules.get("torch") if gpus else None
        there = getattr(torch, "cuda", None)
        return gpu(None) if there is not None and there.is_available() else this_cpu()
    if isinstance(device, str):
        return _named_machine(device)
    if isinstance(device, int) and not isinstance(device, bool):
        return gpu(device)
    kind = getattr(device, "type", None)
    if not isinstance(kind, str):
        raise TypeError(f"not a torch device, an index or a target: {device!r}")
    if kind == "cuda":
        return gpu(getattr(device, "index", None))
    return this_cpu() if kind == "cpu" else (kind,)


def _named_machine(text: str) -> tuple[Any, ...]:
    """A target, or a device as torch writes it: `cpu`, `cuda`, `cuda:1`."""
    kind, _, arch = text.partition(":")
    if arch == "" or arch.isdigit():
        if kind in ("cuda", "hip"):
            return gpu(int(arch) if arch else None)
        return this_cpu() if kind == "cpu" else (kind,)
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


def gpu(index: int | None) -> tuple[Any, ...]:
    """A GPU, by default the current one, as `compatible` takes it.

    Raises ImportError without torch, and what torch raises where there is no such GPU.
    """
    import torch

    index = torch.cuda.current_device() if index is None else index
    if torch.version.hip:
        return "hip", torch.cuda.get_device_properties(index).gcnArchName.partition(":")[0]
    return ("cuda", *torch.cuda.get_device_capability(index))
