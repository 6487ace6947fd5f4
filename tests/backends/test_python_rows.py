"""The python backend in a fresh process: functions that list rows."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest


def test_rows_come_from_a_function(bench: Any) -> None:
    bench.write(
        "rows.py",
        "def plain(targets):\n    yield {'T': t for t in targets}\n"
        "def generating(targets, out_dir):\n"
        "    open(out_dir + '/a.cpp', 'w').close()\n"
        "    return [{'source': out_dir + '/a.cpp', 'on': True, 'n': None}]\n"
        "def odd(targets):\n    return [{'x': object()}]\n",
    )
    action = bench.action("python", "unused:unused")

    def listed(function: str) -> Any:
        params = (("source", f"rows:{function}"), ("targets", ("cpu", "hip:gfx942")))
        return dataclasses.replace(action, stage="rows", params=params)

    report = bench.built(listed("plain"))
    assert (bench.out / "rows.json").read_text() == (
        '{"broken":[],"rows":[[1,{"T":"hip:gfx942"}]],"told":[]}'
    )
    assert "{project}/rows.py" in report.trace.modules
    assert sum(name.startswith("{project}") for name in report.trace.modules) == 1
    bench.built(listed("generating"))
    assert Path(bench.out, "rows.json").read_text() == (
        '{"broken":[],"rows":[[1,{"n":null,"on":true,"source":["{generated}/a.cpp"]}]],"told":[]}'
    )
    assert Path(bench.out, "generated", "a.cpp").exists()
    assert "rows:odd" in bench.error(listed("odd"))


def test_a_row_that_is_broken_is_told_beside_the_others(bench: Any) -> None:
    bench.write(
        "rows.py",
        "import warnings\n"
        "def mixed(targets):\n"
        "    yield {'n': 1}\n"
        "    yield ValueError('tuned.csv:3: unknown dtype')\n"
        "    warnings.warn('2 rows of others left out')\n"
        "    yield {'n': 2}\n",
    )
    params = (("source", "rows:mixed"), ("targets", ("cpu",)))
    action = bench.action("python", "unused:unused")
    bench.built(dataclasses.replace(action, stage="rows", params=params))
    assert (bench.out / "rows.json").read_text() == (
        '{"broken":[["rows:mixed row 2","tuned.csv:3: unknown dtype"]],'
        '"rows":[[1,{"n":1}],[3,{"n":2}]],"told":["2 rows of others left out"]}'
    )


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("float('inf')", "float"),
        ("float('nan')", "float"),
        ("[1, float('nan')]", "float"),
        ("b'x'", "bytes"),
        ("{1}", "set"),
        ("__import__('datetime').date(2020, 1, 2)", "date"),
        ("__import__('decimal').Decimal('1.5')", "Decimal"),
    ],
)
def test_what_no_row_may_hold_is_refused_before_json_makes_something_else_of_it(
    bench: Any, value: str, kind: str
) -> None:
    bench.write("rows.py", f"def odd(targets):\n    yield {{'m': 1}}\n    yield {{'n': {value}}}\n")
    params = (("source", "rows:odd"), ("targets", ("cpu",)))
    action = dataclasses.replace(
        bench.action("python", "unused:unused"), stage="rows", params=params
    )
    told = bench.error(action)
    assert f"a row cannot hold a {kind}" in told
    assert "rows:odd row 2" in told and "column: n" in told
    assert not (bench.out / "rows.json").exists()
