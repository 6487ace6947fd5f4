"""Declared signatures and rows -> launches. Needs no triton: it is what planning does."""

from typing import Any

import pytest

from aot_build.backends.triton.signature import Function, Parameter, launch_of
from aot_build.core.kernel import KernelSpec, Value, Variant
from aot_build.core.target import Target
from aot_build.errors import InputError

TARGET = Target("cuda", "sm_90a")
FUNCTION = Function(
    name="demo.kern:matmul",
    parameters=(
        Parameter("a"),
        Parameter("n"),
        Parameter("bias", has_default=True, default=None),
        Parameter("scale", annotation="fp32"),
        Parameter("BM", constexpr=True),
        Parameter("FAST", constexpr=True, has_default=True, default=False),
    ),
    options=("enable_fp_fusion", "num_stages", "num_warps"),
)
SIGNATURE: dict[str, Value] = {"a": "*{dtype}:16", "n": "i32"}
ROW: dict[str, Value] = {"dtype": "fp16", "BM": 64, "num_warps": 8}


def launch(
    row: dict[str, Value], signature: dict[str, Value] = SIGNATURE, target: Target = TARGET
) -> dict[str, Any]:
    spec = KernelSpec("matmul", "triton", ("demo.kern:matmul",), (target,))
    variant = Variant(spec, tuple(sorted(row.items())), target, where="kernel 'matmul' configs[0]")
    return launch_of(variant, FUNCTION, signature, True)


def test_a_row_fills_the_signature() -> None:
    assert launch(ROW) == {
        "function": "demo.kern:matmul",
        "signature": [
            ["a", "*fp16"],
            ["n", "i32"],
            ["bias", "constexpr"],
            ["scale", "fp32"],
            ["BM", "constexpr"],
            ["FAST", "constexpr"],
        ],
        "constants": [[[2], None], [[4], 64], [[5], False]],
        "attrs": [[[0], [["tt.divisibility", 16]]]],
        "options": {"enable_fp_fusion": True, "num_warps": 8},
        "constexprs": ["BM", "FAST"],
    }


@pytest.mark.parametrize(
    ("declared", "kind", "constant", "divisible"),
    [
        ("i32:16", "i32", None, True),
        ("i32:1", "constexpr", 1, False),
        ("none", "constexpr", None, False),
        ("None", "constexpr", None, False),
        ("4096", "constexpr", 4096, False),
        (4096, "constexpr", 4096, False),
        ("0.5", "constexpr", 0.5, False),
        ("int64", "i64", None, False),
        ("*bfloat16", "*bf16", None, False),
        ("*kfp16:16", "*kfp16", None, True),
        ("*tl.float8e5", "*fp8e5", None, False),
        ("**i8", "**i8", None, False),
    ],
)
def test_what_a_type_says(declared: Value, kind: str, constant: Value, divisible: bool) -> None:
    found = launch({**ROW, "n": declared})
    assert found["signature"][1] == ["n", kind]
    assert [value for path, value in found["constants"] if path == [1]] == (
        [constant] if kind == "constexpr" else []
    )
    assert ([1] in [path for path, _ in found["attrs"]]) == divisible


@pytest.mark.parametrize(
    ("target", "attrs"),
    [
        (TARGET, [["tt.divisibility", 16]]),
        (Target("hip", "gfx942"), [["tt.divisibility", 16], ["tt.pointer_range", 32]]),
    ],
)
def test_a_tensor_may_be_known_to_be_small(target: Target, attrs: list[Any]) -> None:
    found = launch(ROW, {**SIGNATURE, "a": "*{dtype}:16/2GiB"}, target)
    assert found["attrs"] == [[[0], attrs]]
    assert found["signature"][0] == ["a", "*fp16"]


def test_a_dtype_constant_is_one() -> None:
    found = launch({**ROW, "BM": "tl.float16"})
    assert [[4], {"dtype": "fp16"}] in found["constants"]
    assert [[4], "float16"] in launch({**ROW, "BM": "float16"})["constants"]


def test_a_column_decides_fusion() -> None:
    assert launch({**ROW, "enable_fp_fusion": False})["options"]["enable_fp_fusion"] is False


@pytest.mark.parametrize(
    ("row", "signature", "message", "hint"),
    [
        ({**ROW, "num_warp": 4}, SIGNATURE, "column 'num_warp'", "did you mean 'num_warps'?"),
        (ROW, {**SIGNATURE, "b": "i32"}, "signature names 'b', which is no parameter", "valid"),
        ({"dtype": "fp16"}, SIGNATURE, "parameter 'BM' of demo.kern:matmul has no value", "column"),
        (ROW, {"a": "*{dtype}"}, "parameter 'n' of demo.kern:matmul has no value", "`signature`"),
        ({"BM": 1}, SIGNATURE, "takes column 'dtype'", "valid: BM"),
        ({**ROW, "dtype": "fp17"}, SIGNATURE, "'*fp17:16' is no type", "did you mean 'fp16'?"),
        ({**ROW, "n": "i32:8"}, SIGNATURE, "'8' is no hint", "valid: 16"),
        ({**ROW, "a": "*fp16:1"}, SIGNATURE, "a pointer is never 1", ""),
    ],
)
def test_what_is_wrong_is_named(
    row: dict[str, Value], signature: dict[str, Value], message: str, hint: str
) -> None:
    with pytest.raises(InputError) as raised:
        launch(row, signature)
    assert message in raised.value.message
    assert hint in (raised.value.hint or "")
    assert raised.value.fields["where"] == "kernel 'matmul' configs[0]"
