"""Rows, multiplied by targets."""

import pytest

from aot_build.core.kernel import KernelSpec
from aot_build.core.target import Target
from aot_build.errors import InputError
from aot_build.specs import RawRow, Skipped, rows_from_code, variants

CPU, V3, SM80 = Target("cpu"), Target("cpu", "x86-64-v3"), Target("cuda", "sm_80")


def spec(*targets: Target, configs: tuple[object, ...] = ("a.csv",)) -> KernelSpec:
    return KernelSpec(
        "scale",
        "cpp",
        ("a.cpp",),
        targets,
        configs,
        flags=("-O3",),
        include_dirs=("inc",),
        link_flags=("-lm",),
    )


def rows(*values: dict[str, object]) -> list[RawRow]:
    return [RawRow(v, f"a.csv:{i}") for i, v in enumerate(values, 2)]


def test_a_row_makes_one_variant_for_each_target():
    found, skipped = variants(spec(CPU, V3), rows({"T": "f", "B": 1}, {"B": 2}))
    assert [(v.row, v.target, v.where) for v in found] == [
        ((("B", 1), ("T", "f")), CPU, "a.csv:2"),
        ((("B", 1), ("T", "f")), V3, "a.csv:2"),
        ((("B", 2),), CPU, "a.csv:3"),
        ((("B", 2),), V3, "a.csv:3"),
    ]
    assert skipped == Skipped()
    assert found[0].flags == ("-O3",) and found[0].include_dirs == ("inc",)
    assert len(set(found)) == 4


def test_no_configs_is_one_variant_and_no_rows_is_none():
    (only,) = variants(spec(CPU, configs=()), [])[0]
    assert only.row == () and only.source == ("a.cpp",)
    assert variants(spec(CPU), [])[0] == ()


def test_the_target_column_limits_a_row():
    given = rows(
        {"a": 1, "target": "cpu"},
        {"a": 2, "target": ("cpu", "cuda:sm_80")},
        {"a": 3, "target": ("cuda:sm_80", "hip:gfx942")},
        {"a": 4, "target": None},
    )
    found, skipped = variants(spec(CPU, V3), given)
    assert [(dict(v.row), v.target) for v in found] == [
        ({"a": 1}, CPU),
        ({"a": 2}, CPU),
        ({"a": 4}, CPU),
        ({"a": 4}, V3),
    ]
    assert skipped == Skipped(rows=1, targets=(("cuda:sm_80", 2), ("hip:gfx942", 1)))


def test_rows_of_the_kernels_other_specs_are_not_skipped():
    found, skipped = variants(
        spec(CPU), rows({"a": 1, "target": "cuda:sm_80"}), enabled=(CPU, SM80)
    )
    assert found == () and skipped == Skipped()


@pytest.mark.parametrize("target", ["cuda:sm_90b", "", 3, ("cpu", 1), ()])
def test_a_target_that_does_not_exist(target):
    with pytest.raises(InputError) as caught:
        variants(spec(CPU), rows({"a": 1}, {"a": 1, "target": target}))
    assert caught.value.fields["where"] == "a.csv:3"


def test_duplicates_are_merged_by_typed_identity():
    values = [1, 1.0, True, "1", 1, None, (1,), (True,), "1", 0.0, -0.0]
    found, skipped = variants(spec(CPU), rows(*({"a": v} for v in values)))
    assert [repr(dict(v.row)["a"]) for v in found] == [
        "1", "1.0", "True", "'1'", "None", "(1,)", "(True,)", "0.0", "-0.0",
    ]  # fmt: skip
    assert skipped.duplicates == 2 and found[0].where == "a.csv:2"


def test_column_order_never_matters():
    found, skipped = variants(spec(CPU), rows({"a": 1, "b": 2}, {"b": 2, "a": 1}))
    assert len(found) == 1 and skipped.duplicates == 1


def test_code_extends_its_kernel():
    item = {"a": 1, "source": "b.cpp", "flags": ["-g"], "include-dirs": "i", "link-flags": "-lz"}
    (found,) = variants(spec(CPU), rows_from_code([(1, item)], "m:f"))[0]
    assert found.source == ("a.cpp", "b.cpp") and found.flags == ("-O3", "-g")
    assert found.include_dirs == ("inc", "i") and found.link_flags == ("-lm", "-lz")
    assert found.row == (("a", 1),)


def test_equal_rows_that_extend_differently():
    items = [{"a": 1, "flags": "-g"}, {"a": 1}]
    with pytest.raises(InputError, match="two equal rows differ in their flags") as caught:
        variants(spec(CPU), rows_from_code(enumerate(items, 1), "m:f"))
    assert caught.value.fields["first"] == "m:f row 1"
