"""What hardware a kernel is compiled for: `cpu`, `cpu:x86-64-v3`, `cuda:sm_90a`, `hip:gfx942`."""

import re
from dataclasses import dataclass

from aot_build.errors import InputError, did_you_mean

CPU_ARCHES = (
    "", "x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "armv8-a", "armv8.2-a", "armv9-a",
)  # fmt: skip
CUDA_ARCHES = (
    "sm_70", "sm_72", "sm_75", "sm_80", "sm_86", "sm_87", "sm_88", "sm_89", "sm_90", "sm_90a",
    "sm_100", "sm_100a", "sm_100f", "sm_103", "sm_103a", "sm_103f", "sm_110", "sm_110a",
    "sm_110f", "sm_120", "sm_120a", "sm_120f", "sm_121", "sm_121a", "sm_121f",
)  # fmt: skip
HIP_ARCHES = (
    "gfx906", "gfx908", "gfx90a", "gfx942", "gfx950", "gfx1030", "gfx1100", "gfx1101", "gfx1102",
    "gfx1150", "gfx1151", "gfx1200", "gfx1201", "gfx1250",
)  # fmt: skip
ARCHES = {"cpu": CPU_ARCHES, "cuda": CUDA_ARCHES, "hip": HIP_ARCHES}


@dataclass(frozen=True, order=True, slots=True)
class Target:
    """`kind` is cpu, cuda or hip; `arch` is empty for the baseline CPU."""

    kind: str
    arch: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.arch}" if self.arch else self.kind

    @property
    def folder(self) -> str:
        """A name for folders and files: no colon."""
        return str(self).replace(":", "-")


def known_targets() -> tuple[str, ...]:
    """Every target that `parse_target` takes, as text."""
    return tuple(str(Target(kind, arch)) for kind, arches in ARCHES.items()
                 for arch in arches if arch or kind == "cpu")  # fmt: skip


def parse_target(text: str, *, where: str | None = None) -> Target:
    """Read a target. Raises InputError, naming the nearest valid one, where it is unknown."""
    if text in known_targets():
        kind, _, arch = text.partition(":")
        return Target(kind, arch)
    kind, _, arch = text.partition(":")
    fields = {"target": repr(text), "where": where}
    if kind in ARCHES and re.fullmatch(r"\w+:[\w.:+-]*[+-]", text):
        fields["note"] = "feature suffixes such as xnack+ are not part of a target"
    raise InputError(f"unknown target {text!r}", fields, did_you_mean(text, known_targets()))
