"""Functions as data: what is kept of them, and that they compile to the same bytes elsewhere."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("triton", exc_type=ImportError)
pytestmark = pytest.mark.triton

from aot_build.backends.triton.compile import compiled, specialise  # noqa: E402
from aot_build.backends.triton.program import build, program_of  # noqa: E402
from aot_build.backends.triton.values import NotData, decode, encode  # noqa: E402

SOURCE = """
import math
import triton
import triton.language as tl
from triton.language.extra import libdevice
from {package} import other

EPS: tl.constexpr = tl.constexpr(0.5)
LIMIT = 3

@triton.jit
def shift(x, s):
    return x * s + EPS

@triton.jit
def kernel(X, Y, n, BLOCK: tl.constexpr, KIND: tl.constexpr = tl.float32):
    "Adds."
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(X + o, mask=o < n).to(KIND)
    tl.store(Y + o, other.double(shift(libdevice.exp(x), 2.0)), mask=o < n)

@triton.jit
def alone(X):
    tl.store(X, 1.0)
"""
OTHER = """
import triton
import triton.language as tl

@triton.jit
def double(x):
    return x + x
"""
LAUNCH = {
    "function": "made.kern:kernel",
    "signature": [["X", "*fp32"], ["Y", "*fp32"], ["n", "i32"],
                  ["BLOCK", "constexpr"], ["KIND", "constexpr"]],
    "constants": [[[3], 128], [[4], {"dtype": "fp32"}]],
    "attrs": [[[0], [["tt.divisibility", 16]]], [[2], [["tt.divisibility", 16]]]],
    "options": {"num_warps": 4, "enable_fp_fusion": True},
    "constexprs": ["BLOCK", "KIND"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton-cache"))
    monkeypatch.setenv("TRITON_DISABLE_LINE_INFO", "1")
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Write the package `made` with a source, import it, give its module of kernels."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(kern: str = SOURCE, other: str = OTHER) -> ModuleType:
        import importlib

        folder = tmp_path / "made"
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text("")
        (folder / "kern.py").write_text(kern.replace("{package}", "made"))
        (folder / "other.py").write_text(other)
        for name in [name for name in sys.modules if name.partition(".")[0] == "made"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        # Sources of equal size, written within one second, must not come out of a .pyc.
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        import linecache

        linecache.clearcache()
        return importlib.import_module("made.kern")

    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] == "made"]:
        del sys.modules[name]


def test_a_program_holds_what_is_reached_and_no_more(made: Any) -> None:
    program = program_of([made().kernel])
    assert list(program) == ["made.kern:kernel", "made.kern:shift", "made.other:double"]
    assert program["made.kern:kernel"]["globals"] == {
        "libdevice": {"module": "triton.language.extra.libdevice"},
        "other": {"namespace": ["made.other", {"double": {"jit": "made.other:double"}}]},
        "shift": {"jit": "made.kern:shift"},
        "tl": {"module": "triton.language"},
    }
    assert program["made.kern:shift"]["globals"] == {"EPS": {"constexpr": 0.5}}
    assert "Adds." not in program["made.kern:kernel"]["source"]


def test_comments_formatting_and_neighbours_leave_it_as_it_is(made: Any) -> None:
    before = program_of([made().kernel])
    edited = SOURCE.replace('    "Adds."\n', '    "Sums."\n    # Why.\n')
    edited = edited.replace("o = tl.program_id(0) * BLOCK", "o = (tl.program_id( 0 )*BLOCK)")
    edited = edited.replace("tl.store(X, 1.0)", "tl.store(X, 2.0)").replace("LIMIT = 3", "")
    assert program_of([made("# Above.\n" + edited).kernel]) == before


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("constexpr(0.5)", "constexpr(0.25)", "made.kern:shift"),
        ("x * s", "x / s", "made.kern:shift"),
        ("mask=o < n)\n", "mask=o <= n)\n", "made.kern:kernel"),
        ("= tl.float32", "= tl.float16", "made.kern:kernel"),
    ],
)
def test_what_counts_changes_one_function(made: Any, old: str, new: str, changed: str) -> None:
    before = program_of([made().kernel])
    after = program_of([made(SOURCE.replace(old, new)).kernel])
    assert {name for name in before if before[name] != after[name]} == {changed}


def test_a_function_elsewhere_counts(made: Any) -> None:
    before = program_of([made().kernel])
    after = program_of([made(other=OTHER.replace("x + x", "x * 2")).kernel])
    assert {name for name in before if before[name] != after[name]} == {"made.other:double"}


@pytest.mark.parametrize("target", ["cuda:sm_80", "cuda:sm_90a", "hip:gfx942"])
def test_a_rebuilt_program_compiles_to_the_same_bytes(
    made: Any, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = made()
    own = {"made.kern:kernel": module.kernel}
    first, extension, metadata = compiled(specialise(module.kernel, LAUNCH, own, target))
    program = program_of([module.kernel])
    for name in [name for name in sys.modules if name.partition(".")[0] == "made"]:
        del sys.modules[name]
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "another-cache"))
    rebuilt = build(program)
    second, _, again = compiled(specialise(rebuilt["made.kern:kernel"], LAUNCH, rebuilt, target))
    assert "made.kern" not in sys.modules
    assert first == second
    assert metadata == again
    assert extension == ("hsaco" if target.startswith("hip") else "cubin")
    assert metadata["assumes"] == {"X": 16, "n": 16}
    assert str(tmp_path).encode() not in first


@pytest.mark.parametrize(
    "body",
    [
        "@triton.constexpr_function\ndef helper(x):\n    return x + 1\n",
        "class helper:\n    pass\n",
        "helper = object()\n",
    ],
)
def test_what_only_its_module_can_make_is_told(made: Any, body: str) -> None:
    kern = textwrap.dedent(SOURCE).replace("LIMIT = 3\n", body)
    kern = kern.replace("tl.store(X, 1.0)", "tl.store(X, helper(1))")
    with pytest.raises(NotData):
        program_of([made(kern).alone])


def test_values_survive() -> None:
    import math

    import triton.language as tl

    for value in (None, True, 3, 2.5, "relu", (1, ("x", None)), [1, 2], tl.float16, tl.exp, tl):
        assert decode(encode(value), {}) == value
    assert math.isnan(decode(encode(math.nan), {}))
    assert decode(encode(tl.constexpr(4)), {}).value == 4
