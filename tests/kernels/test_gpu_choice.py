"""Which variant a shape gets, and how operands are made to fit it."""

import pytest

torch = pytest.importorskip("torch")

import aot_kernels  # noqa: E402, F401  (its folder is importable from here on)
from aot_kernels.gpu import gemm as gemm_launcher  # noqa: E402
from aot_kernels.gpu import rmsnorm as rmsnorm_launcher  # noqa: E402
from aot_kernels.gpu import variants as variants_of  # noqa: E402
from aot_kernels.gpu.aligned import aligned, aligned_vector, rounded  # noqa: E402
from aot_kernels.gpu.gemm import LARGEST_PARTS, SPLITS, Plan, choose, gemm  # noqa: E402
from aot_kernels.gpu.rmsnorm import choose as choose_norm  # noqa: E402
from aot_kernels.gpu.variants import Variant  # noqa: E402

from tests.kernels.rows import TARGETS, rows, signature  # noqa: E402

PROCESSORS = {"cuda:sm_80": 108, "cuda:sm_90a": 132, "cuda:sm_100a": 148, "hip:gfx942": 304,
              "hip:gfx950": 256}  # fmt: skip
pytestmark = pytest.mark.torch


def chosen(target, shape, trans_b=True, dtype="bf16"):
    found = [Variant(row) for built_for, row in rows("gpu_gemm") if built_for == target]
    fit = [v for v in found if (v.row["TRANS_B"], v.row["dtype"]) == (trans_b, dtype)]
    variant, splits = choose(fit, shape, PROCESSORS[target])
    return variant.row["BM"], splits


@pytest.mark.parametrize("target", TARGETS)
def test_tiles(target):
    largest = max(row["BM"] for built_for, row in rows("gpu_gemm") if built_for == target)
    assert chosen(target, (8192, 8192, 8192)) == (largest, 1)
    assert chosen(target, (8192, 8192, 8192), dtype="fp32")[1] == 1
    for m in (1, 16):
        tile, _ = chosen(target, (m, 4096, 4096))
        assert tile == 16
    assert chosen(target, (16, 1024, 65536))[1] > 1
    assert chosen(target, (256, 256, 65536))[1] > 1
    assert chosen(target, (4096, 4096, 64))[1] == 1


@pytest.mark.parametrize("target", TARGETS)
def test_a_split_has_work_and_its_parts_have_room(target):
    for shape in ((16, 16, 16), (1, 1, 300), (16384, 16384, 8192), (512, 512, 2**20)):
        _, splits = chosen(target, shape)
        assert splits in SPLITS
        assert splits == 1 or splits * shape[0] * rounded(shape[1]) <= LARGEST_PARTS
    assert chosen(target, (16, 16, 16))[1] == 1


def test_norms():
    found = [Variant(row) for row in (
        {"ONCE": True, "BLOCK": 256}, {"ONCE": False, "BLOCK": 2048}, {"ONCE": True, "BLOCK": 128},
    )]  # fmt: skip
    blocks = [choose_norm(found, width).row["BLOCK"] for width in (16, 128, 144, 256, 272, 9000)]
    assert blocks == [128, 128, 256, 256, 2048, 2048]


def test_what_fits_is_not_copied():
    matrix = torch.randn(8, 64)[:, :32]
    assert aligned(matrix, 8, 32)[0].data_ptr() == matrix.data_ptr()
    assert aligned(matrix, 8, 32)[1] == 64
    row = torch.randn(1, 77)[:, :32]
    assert aligned(row, 1, 32)[0].data_ptr() == row.data_ptr()
    expanded = torch.randn(1, 32).expand(8, 32)
    assert aligned(expanded, 8, 32)[0].data_ptr() == expanded.data_ptr()
    vector = torch.randn(33)[:31]
    assert aligned_vector(vector, 31).data_ptr() == vector.data_ptr()


@pytest.mark.parametrize("rows, cols", [(8, 32), (8, 48), (16, 32), (1, 32)])
def test_what_does_not_fit_is_copied_with_zeros_around(rows, cols):
    matrices = (
        torch.randn(8 * 32 + 1)[1:].view(8, 32),
        torch.randn(8, 33)[:, :32],
        torch.randn(32, 8).t(),
        torch.randn(8, 30),
        torch.randn(16, 64)[::2, ::2],
        torch.complex(torch.randn(8, 32), torch.randn(8, 32)).conj().imag,
    )
    for matrix in matrices:
        matrix = matrix[:rows]
        found, stride = aligned(matrix, rows, cols)
        assert found.data_ptr() % 16 == 0 and stride % 16 == 0 and not found.is_neg()
        assert tuple(found.shape) == (rows, cols)
        assert torch.equal(found[: matrix.shape[0], : matrix.shape[1]], matrix)
        assert found.sum() == pytest.approx(matrix.sum().item(), abs=1e-4)
        assert found.count_nonzero() == matrix.count_nonzero()


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0)], ids=str)
def test_products_without_elements_need_no_kernel(shape):
    m, n, k = shape
    a, b, bias = torch.ones(m, k), torch.ones(k, n), torch.arange(n, dtype=torch.float32)
    assert torch.equal(gemm(a, b, None), torch.zeros(m, n))
    assert torch.equal(gemm(a, b, bias), bias.expand(m, n))


def test_what_32_bits_cannot_count():
    wide = torch.empty(1).expand(1, 2**23)
    with pytest.raises(ValueError, match="below 8388608; got K = 8388608, N = 1"):
        gemm(wide, wide.t(), None)


class Recorder:
    """An artifact that notes its launches."""

    def __init__(self):
        self.loaded, self.launches = [], []

    def load(self, device):
        self.loaded.append(device)
        return self

    def launch(self, grid, **arguments):
        self.launches.append((grid, arguments))


TYPES = {
    "*bf16": torch.bfloat16, "*fp16": torch.float16, "*fp32": torch.float32, "*i8": torch.int8,
    "*i32": torch.int32, "*fp8e4nv": torch.float8_e4m3fn, "*fp8e4b8": torch.float8_e4m3fnuz,
}  # fmt: skip


def check_launch(launch, kernel, row):
    """By name, in the order of the parameters, of the declared types, and as was assumed."""
    grid, arguments = launch
    declared = signature(kernel, row)
    assert list(arguments) == list(declared) and min(grid) > 0
    for name, kind in declared.items():
        kind, _, assumed = kind.partition(":")
        value = arguments[name]
        if kind in TYPES:
            assert value.dtype is TYPES[kind]
            value = value.data_ptr()
        else:
            assert type(value) is (float if kind == "fp32" else int)
        assert not assumed or value % 16 == 0


@pytest.mark.parametrize("splits", [1, 4])
@pytest.mark.parametrize("trans_b", [True, False])
def test_without_triton_artifacts_launch_themselves(monkeypatch, splits, trans_b):
    monkeypatch.setattr(variants_of, "_function", lambda source: None)
    tile, sums = Recorder(), Recorder()
    rows_of = {"dtype": "bf16", "TRANS_B": trans_b, "BM": 16, "BN": 64, "BK": 32}
    added = {"dtype": "bf16", "BLOCK": 1024}
    plan = Plan(Variant(rows_of, tile), splits, Variant(added, sums))
    a, b, bias = torch.randn(33, 77), torch.randn(77, 130), torch.randn(130)
    gemm_launcher.multiply(a.bfloat16(), b.bfloat16(), bias.bfloat16(), plan)
    gemm_launcher.multiply(a[:1].bfloat16(), b.bfloat16(), None, plan)
    for launch in tile.launches:
        check_launch(launch, "gpu_gemm", rows_of)
    for launch in sums.launches:
        check_launch(launch, "gpu_gemm_sum", added)
    assert [grid for grid, _ in tile.launches] == [(9, splits), (3, splits)]
    assert [grid for grid, _ in sums.launches] == ([] if splits == 1 else [(5, 1), (1, 1)])
    assert len(tile.loaded) == 1, "loaded once"


@pytest.mark.parametrize("residual", [False, True])
def test_without_triton_norms_launch_themselves(monkeypatch, residual):
    monkeypatch.setattr(variants_of, "_function", lambda source: None)
    recorder, row = Recorder(), {"dtype": "fp16", "ROWS": 4, "BLOCK": 128, "ONCE": False}
    x, weight = torch.randn(2, 5, 77).half(), torch.randn(77).half()
    rmsnorm_launcher.normalise(x, weight, 1, x if residual else None, Variant(row, recorder))
    ((grid, arguments),) = recorder.launches
    check_launch((grid, arguments), "gpu_rmsnorm", row)
    assert grid == (3, 1) and arguments["share"] == 1 / 77
    assert arguments["with_residual"] == residual
