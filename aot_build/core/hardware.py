"""What the hardware behind a GPU target is like: its limits, and what its drivers say of it.

Limits per block: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability";
for AMD the LDS size of the LLVM AMDGPU back end's processor table. Names and counts are those of
the product that the architecture is best known for: what host code asks for to choose a launch.
"""

from dataclasses import dataclass

from aot_build.core.target import Target

MAX_THREADS = 1024
"""Threads of a block, on every architecture."""
KIB, GIB = 1 << 10, 1 << 30


@dataclass(frozen=True, slots=True)
class Hardware:
    """One GPU. Sizes are in bytes."""

    name: str
    arch: str
    """`sm_90`, without suffix, or `gfx942`."""
    capability: tuple[int, int]
    """Compute capability; for AMD the major and minor number of the gfx name."""
    warp_size: int
    shared_memory: int
    """The most that one block may use, once it has opted in."""
    processors: int
    """Streaming multiprocessors, or compute units."""
    memory: int


def hardware_of(target: Target) -> Hardware:
    """The hardware of a `cuda` or `hip` target. Raises KeyError for another one."""
    if target.kind == "cuda":
        arch = target.arch.rstrip("af")
        name, processors, shared, memory = _CUDA[arch]
        capability = int(arch[3:-1]), int(arch[-1])
        return Hardware(name, arch, capability, 32, shared * KIB, processors, memory * GIB)
    name, processors, warp_size, shared, memory = _HIP[target.arch]
    digits = target.arch[3:]
    return Hardware(
        name,
        target.arch,
        (int(digits[:-2]), int(digits[-2], 16)),
        warp_size,
        shared * KIB,
        processors,
        memory * GIB,
    )


# name, multiprocessors, KiB of shared memory a block, GiB of memory
_CUDA = {
    "sm_70": ("Tesla V100-SXM2-16GB", 80, 96, 16),
    "sm_72": ("Xavier", 8, 96, 16),
    "sm_75": ("Tesla T4", 40, 64, 16),
    "sm_80": ("NVIDIA A100-SXM4-80GB", 108, 163, 80),
    "sm_86": ("NVIDIA A40", 84, 99, 48),
    "sm_87": ("Orin", 16, 163, 32),
    "sm_88": ("NVIDIA GPU", 16, 99, 32),
    "sm_89": ("NVIDIA L40S", 142, 99, 48),
    "sm_90": ("NVIDIA H100 80GB HBM3", 132, 227, 80),
    "sm_100": ("NVIDIA B200", 148, 227, 180),
    "sm_103": ("NVIDIA B300 SXM6 AC", 148, 227, 270),
    "sm_110": ("NVIDIA Thor", 20, 227, 128),
    "sm_120": ("NVIDIA GeForce RTX 5090", 170, 99, 32),
    "sm_121": ("NVIDIA GB10", 48, 99, 128),
}
# name, compute units, lanes of a wavefront, KiB of LDS a workgroup, GiB of memory
_HIP = {
    "gfx906": ("AMD Instinct MI50", 60, 64, 64, 32),
    "gfx908": ("AMD Instinct MI100", 120, 64, 64, 32),
    "gfx90a": ("AMD Instinct MI250X", 110, 64, 64, 64),
    "gfx942": ("AMD Instinct MI300X", 304, 64, 64, 192),
    "gfx950": ("AMD Instinct MI355X", 256, 64, 160, 288),
    "gfx1030": ("AMD Radeon RX 6900 XT", 40, 32, 64, 16),
    "gfx1100": ("AMD Radeon RX 7900 XTX", 48, 32, 64, 24),
    "gfx1101": ("AMD Radeon RX 7800 XT", 30, 32, 64, 16),
    "gfx1102": ("AMD Radeon RX 7600", 16, 32, 64, 8),
    "gfx1150": ("AMD Radeon 890M", 8, 32, 64, 16),
    "gfx1151": ("AMD Radeon 8060S", 20, 32, 64, 96),
    "gfx1200": ("AMD Radeon RX 9060 XT", 16, 32, 64, 16),
    "gfx1201": ("AMD Radeon RX 9070 XT", 32, 32, 64, 16),
    "gfx1250": ("AMD Instinct MI450", 256, 32, 320, 432),
}
