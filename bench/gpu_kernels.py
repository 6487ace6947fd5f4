"""The project's own GPU kernels against torch's, on whatever GPU there is.

    aot-build build && python setup.py build_ext --aot --inplace
    python bench/gpu_kernels.py [--runs 50] [--only gemm|rmsnorm]

Times `aot_kernels.gemm`, `rmsnorm` and `add_rmsnorm` and what torch does for the same (`mm`,
`nn.functional.rms_norm`) by turns and by the GPU's own clock. Before each run the second-level
cache is overwritten, which also gives the launch time to be made. Checks the results first. Prints
medians, the ratio (below 1: ours is faster), and what of the machine it comes to. `tile` is the
row that was chosen, and the number of splits; a `*` marks one that nothing is shipped for on this
GPU, so that Triton compiled it here.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

try:
    import torch
except ImportError:
    raise SystemExit("torch is missing: pip install 'aot-build[torch]'") from None

try:
    import aot_kernels
except ImportError:
    sys.path.insert(0, str(Path(__file__).parents[1] / "kernels"))
    import aot_kernels

from aot_kernels.gpu.aligned import rounded
from aot_kernels.gpu.gemm import plan_for
from aot_kernels.gpu.rmsnorm import RMSNORM, choose
from aot_kernels.tensors import DTYPES

PRODUCTS = [
    (1, 4096, 4096), (16, 4096, 4096), (64, 8192, 4096), (512, 4096, 4096), (2048, 2048, 2048),
    (4096, 4096, 4096), (8192, 8192, 8192), (16, 128, 32768), (257, 1009, 4000),
]  # fmt: skip
"""(M, N, K)."""
NORMS = [(65536, 128), (16384, 1024), (4096, 4096), (2048, 8192), (512, 16384), (4096, 4100)]
"""(rows, length)."""
FLUSH = 256 * 2**20
"""Bytes: more than any second-level cache holds."""


def milliseconds(calls: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Median time of each call, by turns."""
    flush = torch.empty(FLUSH, dtype=torch.int8, device="cuda")
    pairs: dict[str, list[tuple[torch.cuda.Event, torch.cuda.Event]]] = {n: [] for n in calls}
    for call in calls.values():
        for _ in range(3):
            call()
    for _ in range(runs):
        for name, call in calls.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            flush.zero_()
            start.record()
            call()
            end.record()
            pairs[name].append((start, end))
    torch.cuda.synchronize()
    return {n: statistics.median(s.elapsed_time(e) for s, e in p) for n, p in pairs.items()}


def check(found: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    """Exit where the two differ by more than rounding."""
    apart = (found.double() - expected.double()).abs().max().item()
    size = expected.double().abs().max().item()
    if not apart <= 4 * torch.finfo(found.dtype).eps * size:
        raise SystemExit(f"{what}: wrong by {apart} of {size}")


def products(runs: int) -> None:
    """One table of `gemm`, with B as `nn.Linear` stores it and as it is written."""
    print(f"\n{'gemm (M, N, K)':20} {'dtype':5} {'B':5} {'tile':>18} {'ours ms':>8} "
          f"{'torch ms':>8} {'ratio':>6} {'TFLOP/s':>8}")  # fmt: skip
    for dtype, name in DTYPES.items():
        for shape in PRODUCTS:
            for by_columns in (True, False):
                product(shape, dtype, name, by_columns, runs)


def product(
    shape: tuple[int, int, int], dtype: torch.dtype, name: str, by_columns: bool, runs: int
) -> None:
    m, n, k = shape
    a = torch.randn(m, k, dtype=dtype, device="cuda")
    b = torch.randn(n, k, dtype=dtype, device="cuda")
    b = b.t() if by_columns else b.t().contiguous()
    check(aot_kernels.gemm(a, b), torch.mm(a, b), f"gemm {shape} {name}")
    times = milliseconds(
        {"ours": lambda: aot_kernels.gemm(a, b), "torch": lambda: torch.mm(a, b)}, runs
    )
    plan = plan_for(a.device, name, by_columns, shape)
    row = plan.tile.row
    tile = f"{row['BM']}x{row['BN']}x{row['BK']}/{plan.splits}" + "*" * (not plan.tile.artifact)
    speed = 2 * m * n * k / times["ours"] / 1e9
    print(f"{shape!s:20} {name:5} {'cols' if by_columns else 'rows':5} {tile:>18} "
          f"{times['ours']:8.3f} {times['torch']:8.3f} {times['ours'] / times['torch']:6.2f} "
          f"{speed:8.1f}")  # fmt: skip


def norms(runs: int) -> None:
    """One table of `rmsnorm` and `add_rmsnorm`."""
    print(f"\n{'rmsnorm (rows, N)':20} {'dtype':5} {'':5} {'block':>18} {'ours ms':>8} "
          f"{'torch ms':>8} {'ratio':>6} {'GB/s':>8}")  # fmt: skip
    for dtype, name in DTYPES.items():
        for shape in NORMS:
            for added in (False, True):
                norm(shape, dtype, name, added, runs)


def norm(shape: tuple[int, int], dtype: torch.dtype, name: str, added: bool, runs: int) -> None:
    x, residual = (torch.randn(shape, dtype=dtype, device="cuda") for _ in range(2))
    weight = torch.randn(shape[1], dtype=dtype, device="cuda")

    def ours() -> torch.Tensor:
        if added:
            return aot_kernels.add_rmsnorm(x, residual, weight)[0]
        return aot_kernels.rmsnorm(x, weight)

    def theirs() -> torch.Tensor:
        total = x + residual if added else x
        return torch.nn.functional.rms_norm(total, (shape[1],), weight, 1e-6)

    check(ours(), theirs(), f"rmsnorm {shape} {name}")
    times = milliseconds({"ours": ours, "torch": theirs}, runs)
    variant = choose(RMSNORM.variants(x.device, name), rounded(shape[1]))
    block = f"{variant.row['ROWS']}x{variant.row['BLOCK']}" + "*" * (not variant.artifact)
    speed = (4 if added else 2) * x.numel() * x.element_size() / times["ours"] / 1e6
    print(f"{shape!s:20} {name:5} {'+ x' if added else '':5} {block:>18} {times['ours']:8.3f} "
          f"{times['torch']:8.3f} {times['ours'] / times['torch']:6.2f} {speed:8.0f}")  # fmt: skip


def main() -> None:
    """Two tables, on the current GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--only", choices=("gemm", "rmsnorm"))
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        kind = "AMD" if torch.version.hip else "NVIDIA" if torch.version.cuda else "no"
        raise SystemExit(f"no GPU: torch {torch.__version__} (built for {kind} GPUs) finds none")
    # Else torch would round fp32 to tf32, and not be asked for the same.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.manual_seed(0)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, median of {asked.runs} runs")
    if asked.only != "rmsnorm":
        products(asked.runs)
    if asked.only != "gemm":
        norms(asked.runs)


if __name__ == "__main__":
    main()
