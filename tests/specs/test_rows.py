"""Rows out of files, declarations and code."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aot_build.core.kernel import KernelSpec
from aot_build.core.target import Target
from aot_build.errors import InputError
from aot_build.specs import RawRow, config_files, read_rows, rows_from_code
from aot_build.specs.tables import cell, read_csv

Read = Callable[[str | bytes], list[RawRow]]
SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def spec(*configs: object) -> KernelSpec:
    return KernelSpec("scale", "cpp", ("a.cpp",), (Target("cpu"),), configs)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Read]:
    def of(name: str) -> Read:
        def rows(content: str | bytes) -> list[RawRow]:
            raw = content if isinstance(content, bytes) else content.encode()
            (tmp_path / name).write_bytes(raw)
            return read_rows(spec(name), tmp_path)[0]

        return rows

    return of


CELLS = [
    ("12", 12), ("-3", -3), ("0", 0), (" 7 ", 7),
    ("1.5", 1.5), ("-0.25", -0.25), ("1e3", 1000.0), (".5", 0.5), ("2.", 2.0), ("1E-2", 0.01),
    ("true", True), ("False", False), ("TRUE", True),
    ("007", "007"), ("+1", "+1"), ("1_000", "1_000"), ("00.5", "00.5"), ("-0", "-0"),
    ("1e999", "1e999"), ("nan", "nan"), ("inf", "inf"), ("0x10", "0x10"), ("None", "None"),
    ("\u0663", "\u0663"), ("1" * 5000, "1" * 5000), ("torch.int8", "torch.int8"),
    ("0.0%", "0.0%"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), CELLS)
def test_csv_types(text, value):
    assert cell(text) == value and type(cell(text)) is type(value)


@given(st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_csv(number):
    assert cell(str(number)) == number


def test_csv(read):
    rows = read("a.csv")(
        '\ufeffT , N,s\r\nfloat,64,"a,b"\r\n,128,\r\n\r\n,,\r\n"x\ny",1,z\r\nw,2,v'
    )
    assert [dict(r.values) for r in rows] == [
        {"T": "float", "N": 64, "s": "a,b"},
        {"N": 128},
        {"T": "x\ny", "N": 1, "s": "z"},
        {"T": "w", "N": 2, "s": "v"},
    ]
    assert [r.where for r in rows] == ["a.csv:2", "a.csv:3", "a.csv:6", "a.csv:8"]


def test_csv_quotes_after_a_space(read):
    (row,) = read("a.csv")('a, b\n1, "x, y"\n')
    assert row.values == {"a": 1, "b": "x, y"}


def test_csv_rows_that_are_cut_off_are_errors(read):
    with pytest.raises(InputError, match="fewer cells") as caught:
        read("a.csv")("a,b\n1,2\n3\n")
    assert caught.value.fields["file"] == "a.csv:3"


def test_csv_without_rows(read):
    assert read("a.csv")("") == [] and read("a.csv")("a,b\n") == []


@given(st.text(max_size=80))
def test_any_text_is_rows_or_an_input_error(text):
    try:
        rows = list(read_csv(text, "a.csv"))
    except InputError as error:
        assert error.fields["file"].startswith("a.csv:")
    else:
        assert all(value is not None for row in rows for value in row.values.values())


MALFORMED = [
    ("a.csv", "a,b\n1,2,3\n", "more cells", "a.csv:2"),
    ("a.csv", "a,a\n", "two columns are named 'a'", "a.csv:1"),
    ("a.csv", "a,,b\n", "column 2 has no name", "a.csv:1"),
    ("a.csv", 'a\n1\n"x\ny\n', "not valid csv", "a.csv:3"),
    ("a.csv", b"a\n1\n\xff\n", "not UTF-8", "a.csv:3"),
    ("a.json", '[{"a": 1},\n 2]', "a row must be an object", "a.json:2"),
    ("a.json", '[{"a": 1},\n {"a" 2}]', "not valid json", "a.json:2"),
    ("a.json", '[{"a": 1},\n]', "not valid json", "a.json:1"),
    ("a.json", '[{"a": 1}\n {"a": 2}]', "not valid json", "a.json:2"),
    ("a.json", '[{"a": 1}', "not valid json", "a.json:1"),
    ("a.json", "", "not valid json", "a.json:1"),
    ("a.json", '{"a": 1}\n{"a": 2}', "more than one json value", "a.json:2"),
    ("a.json", '[]\n[]', "more than one json value", "a.json:2"),
    ("a.json", '[\n{"a": NaN}]', "NaN is no value", "a.json:2"),
    ("a.json", '[\n{"a": 1, "a": 2}]', "two columns are named 'a'", "a.json:2"),
    ("a.json", '[{"a": 1e999}]', "a row cannot hold a float", "a.json:1"),
    ("a.json", '[{"a": {"b": 1}}]', "a row cannot hold a dict", "a.json:1"),
    ("a.json", '[\n{"a": []}]', "an empty list makes no row", "a.json:2"),
    ("a.json", '[{"": 1}]', "not the name of a column", "a.json:1"),
    ("a.json", '[{"a": "\\ud800"}]', "not valid Unicode", "a.json:1"),
    ("a.json", "[" + '{"a":' * 99999, "not valid json", "a.json:1"),
    ("a.json", '[{"a": ' + "1" * 5000 + "}]", "not valid json", "a.json:1"),
    ("a.toml", "[[rows]]\na = \n", "not valid TOML", "a.toml:2"),
    ("a.toml", "a = 1\n", "rows must be one array of tables", "a.toml:1"),
    ("a.toml", "[[rows]]\na = 1\n[x]\n", "rows must be one array of tables", "a.toml:1"),
    ("a.toml", "[[rows]]\na = 1\n\n[[rows]]\na = 1979-05-27", "cannot hold a date", "a.toml:4"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message", "place"), MALFORMED)
def test_malformed_files_say_where(read, name, content, message, place):
    with pytest.raises(InputError) as caught:
        read(name)(content)
    fields = caught.value.fields
    assert message in caught.value.message and place in (fields.get("file"), fields.get("where"))


def test_json(read):
    rows = read("a.json")('[\n {"a": 1, "b": null},\n\n {"a": [1, 2], "c": [[3, 4], "x"]}\n]')
    assert [dict(r.values) for r in rows] == [
        {"a": 1, "b": None},
        {"a": 1, "c": (3, 4)},
        {"a": 1, "c": "x"},
        {"a": 2, "c": (3, 4)},
        {"a": 2, "c": "x"},
    ]
    assert [r.where for r in rows] == ["a.json:2"] + ["a.json:4"] * 4
    assert read("a.json")('{"a": true}')[0].values == {"a": True}
    assert read("a.json")("[]") == []


@pytest.mark.parametrize("key", ["rows", "tiles", '"rows"'])
def test_toml(read, key):
    rows = read("a.toml")(f"# tiles\n[[{key}]]\na = 1\n\n[[{key}]]\na = [2.5, 'x']\n")
    assert [r.values["a"] for r in rows] == [1, 2.5, "x"]
    assert [r.where for r in rows] == ["a.toml:2", "a.toml:5", "a.toml:5"]


def test_inline_toml_array(read):
    rows = read("a.toml")("\nrows = [{a = 1}, {a = 2}]\n")
    assert [r.where for r in rows] == ["a.toml:2", "a.toml:2"]


def test_inline_rows_are_products_and_a_target_list_is_not(tmp_path):
    pairs = (("T", "float"), ("BLOCK", (64, 128)), ("target", ("cpu", "cuda:sm_80")))
    for entry in (pairs, {k: list(v) if isinstance(v, tuple) else v for k, v in pairs}):
        rows, code = read_rows(spec(entry), tmp_path)
        assert code == [] and [r.values["BLOCK"] for r in rows] == [64, 128]
        assert rows[0].values["target"] == ("cpu", "cuda:sm_80")
        assert rows[0].where == "kernel 'scale' configs[0]"


def test_code_is_not_called_here(tmp_path):
    (tmp_path / "a.csv").write_text("a\n1\n")
    one = spec("demo.jobs:rows", "a.csv", {"a": 2})
    rows, code = read_rows(one, tmp_path)
    assert code == ["demo.jobs:rows"] and [r.values["a"] for r in rows] == [1, 2]
    assert config_files(one, tmp_path) == (tmp_path / "a.csv",)


def test_missing_files_name_the_nearest(tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "scale.csv").write_text("a\n")
    with pytest.raises(InputError) as caught:
        read_rows(spec("rows/scal.csv"), tmp_path)
    assert caught.value.hint == "did you mean 'rows/scale.csv'?"
    with pytest.raises(InputError, match="does not exist"):
        read_rows(spec("nowhere/scale.csv"), tmp_path)
    with pytest.raises(InputError, match="is a folder"):
        read_rows(spec("rows"), tmp_path)


def test_unknown_suffix(read):
    with pytest.raises(InputError, match=r"cannot be read from 'a\.cvs'") as caught:
        read("a.cvs")("a\n1\n")
    assert caught.value.hint == "did you mean '.csv'?"


def test_rows_from_code():
    item = {"n": [1, [2, 3]], "flags": "-g", "include_dirs": ["x"], "source": ["b.cpp"], "z": None}
    (row,) = rows_from_code([(1, item)], "demo.jobs:rows")
    assert row.values == {"n": (1, (2, 3)), "z": None}
    assert row.extends == {"flags": ("-g",), "include-dirs": ("x",), "source": ("b.cpp",)}
    assert row.where == "demo.jobs:rows row 1"


class Loud(int):
    """A number with an identity of its own."""


@pytest.mark.parametrize(
    "value", [{"a": 1}, b"x", object(), math.nan, math.inf, {1}, Loud(3), [b"x"], Path("x")]
)
def test_code_may_not_yield_other_types(value):
    with pytest.raises(InputError) as caught:
        rows_from_code([(1, {"ok": 1}), (2, {"col": value})], "m:f")
    assert caught.value.fields["where"] == "m:f row 2" and caught.value.fields["column"] == "col"


@pytest.mark.parametrize("item", [{"flags": 1}, {"flags": [""]}, {1: 2}, {" ": 2}, [("a", 1)]])
def test_code_may_not_yield_other_rows(item):
    with pytest.raises(InputError):
        rows_from_code([(1, item)], "m:f")


def test_real_tuning_files_read():
    files = sorted(SHARED.glob("aiter_tuned/**/*.csv"))
    if not files:
        pytest.skip("needs the folder shared/data beside the checkout")
    ragged = "dsv4_fp8fp4_tuned_fmoe.csv"
    found = {
        f.name: list(read_csv(f.read_text("utf-8-sig"), f.name)) for f in files if f.name != ragged
    }
    assert len(found["bf16_tuned_gemm.csv"]) == 232
    first = found["bf16_tuned_gemm.csv"][0].values
    assert (first["cu_num"], first["bias"], first["dtype"]) == (256, False, "torch.bfloat16")
    with pytest.raises(InputError, match="fewer cells"):
        list(read_csv(next(f for f in files if f.name == ragged).read_text("utf-8-sig"), ragged))
