"""chunk_gdn_h against float64, and float64 against what a gated delta net is."""

import csv
import importlib.util
import itertools
from pathlib import Path
from types import ModuleType

import pytest

torch = pytest.importorskip("torch")

import aot_kernels  # noqa: E402
from aot_kernels.reference import chunk_gdn_h as reference  # noqa: E402
from aot_kernels.tensors import DTYPES  # noqa: E402

from tests.kernels.gdn import bounds, problem, ratio  # noqa: E402

ROWS = Path(__file__).parents[2] / "kernels/aot_kernels/cpu/chunk_gdn_h.csv"
BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
KINDS = [
    (dtype, snapshot, state)
    for dtype in DTYPES
    for snapshot, state in itertools.product(sorted({dtype, FP32}, key=str), repeat=2)
]
pytestmark = pytest.mark.torch


def unit(dtype):
    return torch.finfo(dtype).eps / 2


def check(given, chunk=64, final=True, snapshot=None, state=FP32):
    """All three results, within what fp32 and one rounding each allow."""
    found = aot_kernels.chunk_gdn_h(
        **given, final_state=final, chunk=chunk, snapshot_dtype=snapshot, state_dtype=state
    )
    exact = reference.chunk_gdn_h(**given, chunk=chunk)
    allowed = bounds(**given, chunk=chunk, exact=exact, unit=0)
    wanted = (snapshot or given["k"].dtype, given["k"].dtype, state if final else None)
    for got, right, bound, dtype in zip(found, exact, allowed, wanted, strict=True):
        if dtype is None:
            assert got is None
            continue
        assert got.dtype is dtype and got.shape == right.shape and got.is_contiguous()
        assert ratio(got, right, bound, unit(dtype)) <= 1
    return found


@pytest.mark.parametrize("dtype, snapshot, state", KINDS, ids=lambda kind: DTYPES[kind])
def test_states(target, dtype, snapshot, state):
    for initial in (None, state):
        given = problem((2, 100, 1, 2, 32, 48), dtype, initial)
        check(given, snapshot=snapshot, state=state)


SHAPES = [
    (1, 1, 1, 1, 1, 1), (1, 64, 1, 1, 16, 32), (2, 65, 1, 3, 17, 5), (1, 70, 2, 2, 128, 128),
    (3, 40, 1, 2, 8, 31), (1, 5, 1, 8, 3, 129),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("chunk", [9, 64, 1000])
def test_shapes_and_chunks(target, shape, chunk):
    check(problem(shape, FP32, FP32, chunk=chunk), chunk)
    check(problem(shape, BF16, chunk=chunk), chunk, final=False)


def test_a_chunk_of_one_token(target):
    check(problem((2, 9, 1, 2, 5, 6), FP32, FP32, chunk=1), 1)


ENDS = [[0, 1], [0, 64, 128], [0, 3, 3, 70, 200], [0, 0, 100], [0, 129, 130, 130]]


@pytest.mark.parametrize("ends", ENDS, ids=str)
@pytest.mark.parametrize("state", [None, FP32, BF16], ids=str)
def test_sequences_of_any_length(target, ends, state):
    given = problem((1, ends[-1], 2, 4, 16, 24), BF16, state, ends)
    h, v_new, last = check(given, state=state or FP32)
    given["cu_seqlens"] = given["cu_seqlens"].int()
    again = aot_kernels.chunk_gdn_h(**given, final_state=True, state_dtype=state or FP32)
    assert all(torch.equal(a, b) for a, b in zip((h, v_new, last), again, strict=True))
    before = 0
    for number, (start, end) in enumerate(itertools.pairwise(ends)):
        part = {name: given[name][:, start:end] for name in ("k", "w", "u", "g")}
        first = None if state is None else given["initial_state"][number : number + 1]
        alone = aot_kernels.chunk_gdn_h(
            **part, initial_state=first, final_state=True, state_dtype=state or FP32
        )
        chunks = alone[0].shape[1]
        assert torch.equal(alone[0][0], h[0, before : before + chunks])
        assert torch.equal(alone[1], v_new[:, start:end]) and torch.equal(alone[2][0], last[number])
        before += chunks
    assert before == h.shape[1]


@pytest.mark.parametrize("batches, tokens", [(0, 5), (2, 0)])
def test_without_tokens(target, batches, tokens):
    given = problem((batches, tokens, 1, 2, 4, 8), BF16, BF16)
    h, v_new, last = aot_kernels.chunk_gdn_h(**given, final_state=True)
    assert h.numel() == 0 and h.dim() == 5 and v_new.shape == given["u"].shape
    assert torch.equal(last, given["initial_state"])


def test_strides(target):
    given = problem((2, 70, 2, 4, 16, 24), FP16, FP16)
    expected = check(given, state=FP16)
    for name in ("k", "w", "u", "g", "initial_state"):
        other = {**given, name: given[name].mT.contiguous().mT}
        assert other[name].stride() != given[name].stride()
        found = check(other, state=FP16)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_result_does_not_depend_on_the_number_of_threads(target):
    given, before, results = problem((2, 100, 2, 4, 32, 80), FP32), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 7):
            torch.set_num_threads(threads)
            results.append(aot_kernels.chunk_gdn_h(**given, final_state=True))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("ends", [None, *ENDS], ids=str)
def test_chunks_and_tokens_give_the_same(ends):
    shape = (1 if ends else 2, ends[-1] if ends else 150, 2, 4, 8, 16)
    given = problem(shape, FP32, FP32, ends)
    for one, other in zip(
        reference.chunk_gdn_h(**given), reference.token_by_token(**given), strict=True
    ):
        assert one.shape == other.shape and torch.allclose(one, other, rtol=1e-12, atol=1e-12)


def rules(k, v, beta, g, chunk):
    """What `w` and `u` are for a gated delta net; the gates are summed up within chunks.

    The WY form of the paper that the reference names: (I + A) u = beta v, (I + A) w = beta e^g k,
    A below its diagonal beta_i e^(g_i - g_j) k_i k_j.
    """
    w, u, sums = (torch.empty_like(each) for each in (k, v, g))
    for at in range(0, k.shape[1], chunk):
        span = (slice(None), slice(at, at + chunk))
        sums[span] = g[span].cumsum(1)
        total, keys = sums[span].transpose(1, 2), k[span].transpose(1, 2)
        scaled = beta[span].transpose(1, 2)[..., None]
        between = torch.exp(total[..., :, None] - total[..., None, :])
        system = torch.eye(total.shape[-1]).double() + (scaled * keys @ keys.mT * between).tril(-1)
        right = torch.cat([scaled * total[..., None].exp() * keys,
                           scaled * v[span].transpose(1, 2)], -1)  # fmt: skip
        solved = torch.linalg.solve_triangular(system, right, upper=False).transpose(1, 2)
        w[span], u[span] = solved.split([k.shape[-1], v.shape[-1]], -1)
    return w, u, sums


@pytest.mark.parametrize("chunk", [8, 64])
def test_it_is_the_recurrence_of_gated_delta_nets(target, chunk):
    """As flash-linear-attention defines it, a token at a time."""
    found = importlib.util.find_spec("fla")
    if found is None or importlib.util.find_spec("einops") is None:
        pytest.skip("needs fla-core")
    place = Path(found.submodule_search_locations[0]) / "ops/gated_delta_rule/naive.py"
    spec = importlib.util.spec_from_file_location("naive_gated_delta_rule", place)
    naive = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(naive)

    k, v = torch.randn(2, 100, 3, 16).double(), torch.randn(2, 100, 3, 24).double()
    k = torch.nn.functional.normalize(k, dim=-1)
    beta, g = torch.rand(2, 100, 3).double(), -torch.rand(2, 100, 3).double() / 8
    first = torch.randn(2, 3, 16, 24)
    _, expected = naive.naive_recurrent_gated_delta_rule(
        k, k, v, beta, g, initial_state=first, output_final_state=True
    )
    w, u, sums = rules(k, v, beta, g, chunk)
    _, _, exact = reference.chunk_gdn_h(k, w, u, sums, first, chunk=chunk)
    # Theirs is in fp32, 100 steps of it.
    assert torch.allclose(exact, expected.double(), rtol=1e-4, atol=1e-4)
    _, _, last = aot_kernels.chunk_gdn_h(
        k.float(), w.float(), u.float(), sums.float(), first, final_state=True, chunk=chunk
    )
    assert torch.allclose(last.double(), exact, rtol=1e-4, atol=1e-4)


def test_what_does_not_fit(shipped: ModuleType):
    given = problem((1, 70, 2, 4, 8, 16), BF16, FP32)

    def call(**changed):
        return aot_kernels.chunk_gdn_h(**{**given, **changed})

    with pytest.raises(ValueError, match=r"H a multiple of Hg.*k \(1, 70, 3, 8\)"):
        call(k=torch.ones(1, 70, 3, 8).bfloat16())
    with pytest.raises(ValueError, match=r"that fit k and u; got .*g \(1, 69, 4\)"):
        call(g=given["g"][:, 1:])
    with pytest.raises(ValueError, match=r"initial_state \(2, 4, 8, 16\)"):
        call(initial_state=torch.ones(2, 4, 8, 16))
    with pytest.raises(TypeError, match=r"w has to be of torch.bfloat16; got torch.float32"):
        call(w=given["w"].float())
    with pytest.raises(TypeError, match=r"g has to be of torch.float32"):
        call(g=given["g"].double())
    with pytest.raises(TypeError, match=r"initial_state has to be of .*; got torch.float16"):
        call(initial_state=given["initial_state"].half())
    with pytest.raises(TypeError, match=r"snapshot_dtype has to be of .*; got torch.float16"):
        call(snapshot_dtype=FP16)
    with pytest.raises(TypeError, match=r"u is a list"):
        call(u=[1.0])
    with pytest.raises(ValueError, match=r"at least one token; got 0"):
        call(chunk=0)
    for ends in ([0, 71], [1, 70], [0, 50, 40, 70], [], [70]):
        with pytest.raises(ValueError, match="has to rise from 0 to T = 70, in a batch of one"):
            call(cu_seqlens=torch.tensor(ends, dtype=torch.int64), initial_state=None)
    for ends in (70, [[0, 70]]):
        with pytest.raises(ValueError, match=r"expected cu_seqlens \(N \+ 1,\); got \("):
            call(cu_seqlens=torch.tensor(ends), initial_state=None)


def test_rows_are_all_combinations():
    with open(ROWS, newline="") as stream:
        rows = [tuple(row.values()) for row in csv.DictReader(stream)]
    assert sorted(rows) == sorted(tuple(DTYPES[each] for each in kind) for kind in KINDS)
