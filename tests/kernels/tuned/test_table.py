"""Tuned tables in general: which rows are whose, and which are broken."""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from aot_kernels.tuned import table
from aot_kernels.tuned.table import Broken, Foreign, Row

ROOT = Path(__file__).parents[3]
KNOWN = ("hip:gfx942", "hip:gfx950")
COLUMNS = ("M", "N", "kernelName")


def make(row: Row) -> list[dict[str, object]]:
    name = row.text("kernelName")
    if not name.startswith("ours_"):
        raise Foreign(name.partition("_")[0])
    return [{"N": row.number("N"), "tile": name.removeprefix("ours_")}]


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def read(*texts: str) -> list[Any]:
        paths = []
        for number, text in enumerate(texts):
            paths.append(tmp_path / f"t{number}.csv")
            paths[-1].write_text(text, "utf-8", "surrogateescape")
        monkeypatch.setenv(table.VARIABLE, ":".join(map(str, paths)))
        return list(table.rows(COLUMNS, KNOWN, make, KNOWN))

    return read


def test_what_does_not_change_the_artifact_makes_no_variant(listed):
    found = listed(
        "gfx,M,N,kernelName\ngfx942,1,64,ours_a\ngfx942,2,64,ours_a\ngfx950,1,64,ours_a\n"
    )
    assert found == [
        {"N": 64, "tile": "a", "target": "hip:gfx942"},
        {"N": 64, "tile": "a", "target": "hip:gfx950"},
    ]


def test_the_number_of_compute_units_names_a_target_where_no_column_does(listed):
    text = "cu_num,gfx,M,N,kernelName\n80,,1,8,ours_a\n304,,1,16,ours_a\n"
    text += "256,,1,8,ours_a\n256,gfx942,1,24,ours_a\n"
    assert [(each["N"], each["target"]) for each in listed(text)] == [
        (8, "hip:gfx942"), (16, "hip:gfx942"), (8, "hip:gfx950"), (24, "hip:gfx942"),
    ]  # fmt: skip


def test_tables_of_one_name_are_told_apart(tmp_path, monkeypatch):
    paths = [tmp_path / "a/t.csv", tmp_path / "b/t.csv", tmp_path / "u.csv"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text("gfx,M,N,kernelName\ngfx942,1,x,ours_a\n")
    monkeypatch.setenv(table.VARIABLE, ":".join(map(str, [*paths, paths[0]])))
    said = [str(each).partition(": ")[0] for each in table.rows(COLUMNS, KNOWN, make, KNOWN)]
    assert said == [f"{paths[0]}:2", f"{paths[1]}:2", "u.csv:2"]


def test_a_broken_row_of_a_target_that_is_not_built_is_counted(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    lines = ("gfx,M,N,kernelName", "gfx942,1,8,ours_a", "gfx950,1,x,ours_a", "gfx7,1,8,ours_a")
    path.write_text("\n".join(lines))
    monkeypatch.setenv(table.VARIABLE, str(path))
    with pytest.warns(UserWarning, match=r"^left out 1 broken row of other targets$"):
        found = list(table.rows(COLUMNS, KNOWN, make, ["hip:gfx942"]))
    good, unsupported = found
    assert good["target"] == "hip:gfx942" and str(unsupported).startswith("t.csv:4: unsupported")


def test_rows_of_other_libraries_are_counted_in_one_line(listed):
    text = "gfx,M,N,kernelName\ngfx942,1,8,ck_x\ngfx942,1,8,asm_x\n"
    text += "gfx942,1,8,ck_y\ngfx942,1,8,ours_a\n"
    with pytest.warns(UserWarning, match=r"^left out 3 rows of other libraries: asm 1, ck 2$"):
        assert len(listed(text)) == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("gfx942,1,many,ours_a", "N is no number: 'many'"),
        ("gfx942,1,,ours_a", "nothing in column 'N'"),
        ("gfx942,1,-8,ours_a", "N is no number: '-8'"),
        ("gfx90a,1,8,ours_a", "unsupported target 'gfx90a'; known: hip:gfx942, hip:gfx950"),
        ("gfx942,1", "nothing in column 'kernelName'"),
        ("gfx942,1,0,ours_a", "N is no number: '0'"),
        (f"gfx942,1,{'9' * 5000},ours_a", f"N is no number: '{'9' * 80}'"),
        ("gfx9\udcff,1,8,ours_a", r"unsupported target 'gfx9\\xff'; known: hip:gfx942, hip:gfx950"),
        ('gfx942,1,8,"ours_a', "unexpected end of data"),
        (f"gfx942,1,8,{'x' * 200_000}", "field larger than field limit (131072)"),
    ],
)
def test_a_broken_row_is_named_by_file_and_line_and_costs_no_other(listed, row, reason):
    text = f"# a comment\ngfx,M,N,kernelName\ngfx942,1,8,ours_a\n{row}\ngfx942,1,16,ours_a\n"
    good, broken, other = listed(text)
    assert (good["N"], other["N"]) == (8, 16)
    assert isinstance(broken, ValueError) and str(broken) == f"t0.csv:4: {reason}"


def test_a_table_of_another_family_is_left_alone(listed):
    assert len(listed("gfx,other\ngfx942,1\n", "gfx,M,N,kernelName\ngfx942,1,8,ours_a\n")) == 1
    with pytest.warns(UserWarning, match="none of the tables has the columns M, N, kernelName"):
        assert listed("gfx,other\ngfx942,1\n") == []


def test_a_misspelt_header_is_told_and_costs_no_other_table(listed):
    good = "gfx,M,N,kernelName\ngfx942,1,8,ours_a\n"
    bad = "gfx,M, n,kernel_name\ngfx942,1,16,ours_a\n"
    broken, found = listed(good, bad)
    assert str(broken) == "t1.csv: the header lacks 'N', has ' n', 'kernelName', has 'kernel_name'"
    assert found["N"] == 8


def test_two_columns_of_one_name_are_told(listed):
    with pytest.warns(UserWarning, match="none of the tables"):
        (broken,) = listed("gfx,M,N,N,kernelName\ngfx942,1,8,16,ours_a\n")
    assert str(broken) == "t0.csv: two columns are named 'N'"


def test_a_table_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setenv(table.VARIABLE, "/nowhere/a.csv")
    with pytest.raises(FileNotFoundError, match=r"/nowhere/a\.csv"):
        list(table.rows(COLUMNS, KNOWN, make, KNOWN))


def test_the_tables_are_part_of_what_is_built_from_an_sdist(tmp_path):
    words = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    env = {**os.environ, "AOT_BUILD_TARGETS": "none"}
    subprocess.run(words, cwd=ROOT, env=env, check=True, capture_output=True)
    (listed,) = tmp_path.glob("*/SOURCES.txt")
    folder = "kernels/aot_kernels/tuned"  # of the checkout: the tests may import an installed wheel
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob("*.csv")}
    assert len(shipped) > 4 and shipped <= {*listed.read_text().splitlines()}


def test_words_are_checked():
    row = Row({"dtype": "torch.bfloat16", "odd": "torch.int3", "yes": "True", "no": "0"}, "t:2")
    assert row.dtype("dtype") == "bf16" and row.flag("yes") is True and row.flag("no") is False
    assert row.flag("absent", True) is True and row.number("absent", 3) == 3
    with pytest.raises(Broken, match=r"unknown odd 'torch\.int3'; known: torch\.bfloat16"):
        row.dtype("odd")
    with pytest.raises(Broken, match="unknown dtype"):
        row.flag("dtype")


def test_reading_says_nothing_where_nothing_is_left_out(listed):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert listed("gfx,M,N,kernelName\n") == []
