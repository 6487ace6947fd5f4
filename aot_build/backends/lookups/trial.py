"""Shipped device code on the GPU that is here: loaded, and launched once with nothing to do.

A launch has one block; every number is 0 and every pointer leads to zeros. Most kernels then find
all that they would touch beyond their bounds. One that relies on other numbers may fault and be
right, so that a launch that fails is told and condemns nothing; code that does not load does.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

PATIENCE = 10.0
"""Seconds until a launch counts as one that waits for something."""
BYTES = 64 << 20
"""Where pointers lead to: more than one block of a kernel reaches."""
CODE = (".cubin", ".hsaco")
LOADED, LAUNCHED, FAILED = "loaded", "launched", ""


class Gpu(Protocol):
    """The GPU that is here."""

    def buffer(self) -> Any:
        """Zeros, as `data_ptr()` and `nbytes`: the same ones each time."""

    def ended(self) -> bool:
        """Wait for what was launched; False where it does not end. Raises what it ended with."""


def tried(artifacts: Sequence[Any], gpu: Gpu) -> list[tuple[str, str]]:
    """How far each artifact went, and what is to be said of that.

    All are loaded before any is launched: after a fault nothing works in this process.
    """
    found: list[tuple[str, str]] = []
    launchers: list[list[Any]] = []
    for artifact in artifacts:
        kernels = artifact.metadata.get("symbols") or [artifact.metadata]
        try:
            launchers.append([artifact.load(0, kernel["symbol"]) for kernel in kernels])
            found.append((LOADED, ""))
        except Exception as error:
            launchers.append([])
            found.append((FAILED, f"it does not load: {_said(error)}"))
    for number, (artifact, made) in enumerate(zip(artifacts, launchers, strict=True)):
        passed = arguments(artifact.metadata, gpu)
        if passed is None or not made:
            continue
        if problem := _launched(made[0], passed, gpu):
            found[number] = LOADED, f"a launch on zeros {problem}; no other was tried after it"
            break
        found[number] = LAUNCHED, ""
    return found


def arguments(metadata: Mapping[str, Any], gpu: Gpu) -> list[Any] | None:
    """What to pass; None where types are not known, or are of what cannot be made up."""
    args = list(metadata.get("args", ()))
    args = args[: len(args) - len(metadata.get("scratch", ()))]
    kinds = [arg.get("type") for arg in args]
    if "num_warps" not in metadata or not all(map(_can_be_zero, kinds)):
        return None
    return [gpu.buffer() if kind.startswith("*") else 0 for kind in kinds]


def _can_be_zero(kind: object) -> bool:
    return isinstance(kind, str) and (kind[:1] in "*iufb") and not kind.startswith("**")


def _launched(launcher: Any, passed: list[Any], gpu: Gpu) -> str:
    try:
        launcher((1, 1, 1), *passed)
        return "" if gpu.ended() else f"does not end within {PATIENCE:.0f} s"
    except Exception as error:
        return f"fails: {_said(error)}"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


class Zeros:
    """Memory of a GPU without a type of its elements."""

    def __init__(self, address: int, nbytes: int) -> None:
        self._address, self.nbytes = address, nbytes

    def data_ptr(self) -> int:
        """Its address."""
        return self._address


class TorchGpu:
    """The first GPU, by torch."""

    def __init__(self) -> None:
        import torch

        self._torch: Any = torch
        self._held = torch.zeros(BYTES, dtype=torch.uint8, device="cuda:0")

    def buffer(self) -> Zeros:
        """See Gpu."""
        return Zeros(self._held.data_ptr(), BYTES)

    def ended(self) -> bool:
        """See Gpu."""
        event = self._torch.cuda.Event()
        event.record()
        until = time.monotonic() + PATIENCE
        while not event.query():
            if time.monotonic() > until:
                return False
            time.sleep(0.001)
        return True
