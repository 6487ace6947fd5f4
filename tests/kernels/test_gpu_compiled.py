"""Every row of the Triton kernels, compiled for each of its targets: it fits, and loads widely."""

import re

import pytest

triton = pytest.importorskip("triton")

import aot_kernels  # noqa: E402, F401  (its folder is importable from here on)
from aot_kernels.gpu.variants import TYPES  # noqa: E402

from tests.kernels.rows import FILES, TARGETS, declared, label, rows, signature  # noqa: E402

SHARED_MEMORY = {
    # Of a program: for sm_80 that of sm_86 and sm_89, which run the same binary.
    "cuda:sm_80": 101_376,
    "cuda:sm_90a": 232_448,
    "cuda:sm_100a": 232_448,
    "hip:gfx942": 65_536,
    "hip:gfx950": 163_840,
    "hip:gfx1250": 327_680,
}
THREADS = 1024
KERNELS = (
    "gpu_gemm", "gpu_gemm_sum", "gpu_rmsnorm", "gpu_gemm_a8w8", "gpu_gemm_tuned", "gpu_chunk_gdn_h",
    "gpu_chunk_gdn_h_tuned", "gpu_moe_up", "gpu_moe_down", "gpu_moe_sum", "gpu_grouped_moe",
)  # fmt: skip
pytestmark = [pytest.mark.triton, pytest.mark.torch, pytest.mark.slow]
VARIANTS = [(kernel, target, row) for kernel in KERNELS for target, row in rows(kernel)]


def gpu_target(target):
    """What Triton calls a target."""
    from triton.backends.compiler import GPUTarget

    kind, _, arch = target.partition(":")
    return GPUTarget(kind, int(arch[3:].rstrip("a")) if kind == "cuda" else arch, warp(target))


def warp(target):
    """Threads in a warp."""
    return 64 if target in ("hip:gfx942", "hip:gfx950") else 32


def compiled(kernel, target, row):
    """The variant, as the declaration says."""
    from importlib import import_module

    from triton.compiler import ASTSource, make_backend

    module, _, name = declared(kernel)["source"].partition(":")
    function = getattr(import_module(module), name)
    types = signature(kernel, row)
    kinds, constants, attrs = {}, {}, {}
    for index, parameter in enumerate(function.arg_names):
        if types.get(parameter) == "none":
            kinds[parameter], constants[index,] = "constexpr", None
        elif parameter in types:
            kinds[parameter], _, divisible = types[parameter].partition(":")
            attrs |= {(index,): [["tt.divisibility", 16]]} if divisible else {}
        else:
            kinds[parameter], constants[index,] = "constexpr", row[parameter]
    options = {n: v for n, v in row.items() if n not in function.arg_names and n not in TYPES}
    built_for = gpu_target(target)
    chosen = make_backend(built_for).parse_options({**options, "enable_fp_fusion": True})
    source = ASTSource(function, kinds, constants, attrs)
    return triton.compile(source, target=built_for, options=chosen.__dict__)


def wide_and_narrow(assembly, target):
    """Counts of loads from global memory of 16 bytes a thread, and of single bytes or two."""
    if target.startswith("hip"):
        # gfx1250 says b128, and copies into shared memory through no registers.
        wide = r"(?:global|buffer)_load_(?:dwordx4|lds_dwordx4|b128|async_to_lds_b128)"
        narrow = r"(?:global|buffer)_load_(?:[us]?short|[us]byte|[ui](?:8|16))"
    else:
        wide = r"ld\.global[\w.:]*\.v4\.b32|cp\.async\.cg\.shared\.global.*0x10"
        narrow = r"ld\.global[\w.:]*\.b(?:8|16)"
    return len(re.findall(wide, assembly)), len(re.findall(narrow, assembly))


@pytest.mark.parametrize("kernel, target, row", VARIANTS, ids=label)
def test_variant(kernel, target, row, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    found = compiled(kernel, target, row)
    assert found.metadata.shared <= SHARED_MEMORY[target]
    assert found.metadata.num_warps * warp(target) <= THREADS
    assembly = found.asm["ptx" if target.startswith("cuda") else "amdgcn"]
    if target.startswith("hip"):
        assert re.findall(r"(?:vgpr|sgpr)_spill_count:\s*(\d+)", assembly) == ["0", "0"]
    wide, narrow = wide_and_narrow(assembly, target)
    # gfx950 copies fp32 into shared memory by words, through no registers.
    assert wide > 0 or (target, row["dtype"]) == ("hip:gfx950", "fp32")
    if kernel in ("gpu_gemm_a8w8", "gpu_chunk_gdn_h", "gpu_chunk_gdn_h_tuned"):
        # The bias of a tile: too few elements for its threads.
        assert narrow <= (kernel == "gpu_gemm_a8w8")
    if kernel == "gpu_rmsnorm":
        # The weights of short rows: too few for the threads of a program.
        assert narrow <= (row["ONCE"] and row["BLOCK"] < 512)


def test_there_are_rows_for_every_target():
    for kernel in FILES:
        assert {target for target, _ in rows(kernel)} == set(TARGETS)


def test_sources_are_named_as_the_launchers_name_them():
    from aot_kernels.gpu import chunk_gdn_h, gemm, gemm_a8w8, grouped_moe, moe, rmsnorm

    for kernel in (
        gemm.GEMM, gemm.TUNED, gemm.SUM, rmsnorm.RMSNORM, gemm_a8w8.GEMM_A8W8, chunk_gdn_h.GDN,
        chunk_gdn_h.TUNED, moe.UP, moe.DOWN, moe.SUM, grouped_moe.GROUPED, grouped_moe.SCALED,
    ):  # fmt: skip
        assert declared(kernel.name)["source"] == kernel.source
