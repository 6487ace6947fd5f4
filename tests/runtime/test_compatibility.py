"""Which shipped target a machine runs: the rules as a table."""

from typing import Any

import pytest

from aot_build.core.target import CPU_ARCHES, CUDA_ARCHES, HIP_ARCHES, known_targets
from aot_build.runtime._devices import _capability, _cpu_arches, _named_machine, compatible

V2 = "cx16 lahf_lm pni popcnt sse4_1 sse4_2 ssse3"
V3 = V2 + " abm avx avx2 bmi1 bmi2 f16c fma movbe xsave"
V4 = V3 + " avx512bw avx512cd avx512dq avx512f avx512vl"
ARM82 = "fp asimd asimdrdm atomics crc32 dcpop"


CUDA = {
    (6, 1): "",
    (7, 0): "sm_70",
    (7, 2): "sm_72 sm_70",
    (7, 5): "sm_75 sm_72 sm_70",
    (8, 0): "sm_80",
    (8, 6): "sm_86 sm_80",
    (8, 7): "sm_87 sm_86 sm_80",
    (8, 8): "sm_88 sm_87 sm_86 sm_80",
    (8, 9): "sm_89 sm_88 sm_87 sm_86 sm_80",
    (9, 0): "sm_90a sm_90",
    (9, 1): "sm_90",
    (10, 0): "sm_100a sm_100f sm_100",
    (10, 1): "sm_100f sm_100",
    (10, 3): "sm_103a sm_103f sm_100f sm_103 sm_100",
    (11, 0): "sm_110a sm_110f sm_110",
    (12, 0): "sm_120a sm_120f sm_120",
    (12, 1): "sm_121a sm_121f sm_120f sm_121 sm_120",
    (13, 0): "",
}
"""Capability of a GPU -> all the targets there are that it runs, best first."""
CPU = {
    "x86-64-v4": "x86-64-v4 x86-64-v3 x86-64-v2 x86-64",
    "x86-64-v3": "x86-64-v3 x86-64-v2 x86-64",
    "x86-64-v2": "x86-64-v2 x86-64",
    "x86-64": "x86-64",
    "armv9-a": "armv9-a armv8.2-a armv8-a",
    "armv8.2-a": "armv8.2-a armv8-a",
    "armv8-a": "armv8-a",
}


@pytest.mark.parametrize(("capability", "best_first"), CUDA.items())
def test_every_nvidia_gpu(capability: tuple[int, int], best_first: str) -> None:
    expected = [f"cuda:{arch}" for arch in best_first.split()]
    assert compatible(known_targets(), ("cuda", *capability)) == expected
    assert compatible(reversed(known_targets()), ("cuda", *capability)) == expected


def test_the_table_names_every_architecture() -> None:
    assert {arch for row in CUDA.values() for arch in row.split()} == set(CUDA_ARCHES)
    assert {"", *CPU} == set(CPU_ARCHES)


@pytest.mark.parametrize("arch", HIP_ARCHES)
@pytest.mark.parametrize("suffix", ["", ":xnack+", ":sramecc+:xnack-"])
def test_every_amd_gpu(arch: str, suffix: str) -> None:
    machine = _named_machine(f"hip:{arch}{suffix}")
    assert compatible(known_targets(), machine) == [f"hip:{arch}"]


@pytest.mark.parametrize(("arch", "best_first"), CPU.items())
def test_every_processor(arch: str, best_first: str) -> None:
    expected = [*(f"cpu:{each}" for each in best_first.split()), "cpu"]
    assert compatible(known_targets(), _named_machine(f"cpu:{arch}")) == expected


@pytest.mark.parametrize(
    ("machine", "shipped", "best_first"),
    [
        (("cuda", 9, 0), "sm_90a sm_90 sm_80", "sm_90a sm_90"),
        (("cuda", 8, 9), "sm_80 sm_89 sm_86 sm_90 sm_75", "sm_89 sm_86 sm_80"),
        (("cuda", 8, 0), "sm_86 sm_89", ""),
        (("cuda", 8, 7), "sm_86 sm_80", "sm_86 sm_80"),
        (("cuda", 9, 0), "sm_80", ""),
        (("cuda", 10, 3), "sm_100a sm_100f sm_100 sm_103", "sm_100f sm_103 sm_100"),
        (("cuda", 10, 3), "sm_103 sm_103f sm_103a sm_100f", "sm_103a sm_103f sm_100f sm_103"),
        (("cuda", 10, 0), "sm_103a sm_103f sm_103 sm_100", "sm_100"),
        (("cuda", 12, 1), "sm_120f sm_120a sm_120 sm_121a", "sm_121a sm_120f sm_120"),
        (("cuda", 11, 0), "sm_100f sm_120f sm_110f", "sm_110f"),
        (("cuda", 1, 0), "sm_100 sm_100a", ""),
    ],
)
def test_cuda(machine: tuple[Any, ...], shipped: str, best_first: str) -> None:
    targets = [f"cuda:{arch}" for arch in shipped.split()]
    expected = [f"cuda:{arch}" for arch in best_first.split()]
    assert compatible(targets, machine) == expected
    assert compatible([*reversed(targets), "cpu", "hip:gfx942"], machine) == expected


def test_hip_wants_the_very_name() -> None:
    shipped = ["hip:gfx942", "hip:gfx90a", "cuda:sm_90", "cpu"]
    assert compatible(shipped, ("hip", "gfx942")) == ["hip:gfx942"]
    assert compatible(shipped, ("hip", "gfx94")) == []
    assert compatible(shipped, ("mps",)) == []


@pytest.mark.parametrize(
    ("processor", "flags", "best"),
    [
        ("x86_64", V4, "cpu:x86-64-v4"),
        ("amd64", V3, "cpu:x86-64-v3"),
        ("x86_64", V4.replace("avx512dq", ""), "cpu:x86-64-v3"),
        ("x86_64", V4.replace("movbe", ""), "cpu:x86-64-v2"),
        ("x86_64", "", "cpu:x86-64"),
        ("aarch64", ARM82, "cpu:armv8.2-a"),
        ("arm64", "", "cpu:armv8-a"),
        ("aarch64", V4, "cpu:armv8-a"),
        ("riscv64", V4 + ARM82, "cpu"),
    ],
)
def test_cpu_levels(processor: str, flags: str, best: str) -> None:
    shipped = [f"cpu:{arch}" if arch else "cpu" for arch in CPU_ARCHES]
    found = compatible(shipped, ("cpu", _cpu_arches(processor, frozenset(flags.split()))))
    assert found[0] == best
    assert found[-1] == "cpu"


def test_every_target_of_the_build_is_understood() -> None:
    for arch in CUDA_ARCHES:
        major, minor, suffix = _capability(arch)
        assert f"sm_{major}{minor}{suffix}" == arch
    for arch in CPU_ARCHES[1:]:
        assert compatible([f"cpu:{arch}"], _named_machine(f"cpu:{arch}")) == [f"cpu:{arch}"]


@pytest.mark.parametrize("text", ["cuda:sm_", "cuda:sm_9x", "cuda:sm_90b", "cpu:x86"])
def test_a_device_that_is_none_fits_nothing(text: str) -> None:
    assert compatible(["cuda:sm_90", "cuda:sm_90a", "cpu"], _named_machine(text)) == []
