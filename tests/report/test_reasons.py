"""Explanations as lines: readable however many variants there are."""

import dataclasses
import json
import subprocess
import sys

import pytest

from aot_build.events import PlanListed, VerifyListed, decode, encode
from aot_build.explain import Explanation
from aot_build.report.reasons import explained, looked_up, planned, verified
from aot_build.report.wording import ago, iso
from aot_build.rows import ChangeRow, DifferenceRow, PlanRow, RuntimeRow, StageRow, VerifyRow

HEADER = ChangeRow("file", "file {project}/a.h", "aaaa", "bbbb", "/p/a.h", iso(1e9))
BUILT = {"at": iso(1.1e9), "reason": "never built here", "family": "never-built", "seconds": 0.5}
MISS = Explanation(
    "gemm", "N=0", "cpu", "miss", "file {project}/a.h: aaaa -> bbbb", "file", (HEADER,), 0, BUILT
)


def many(number: int) -> list[Explanation]:
    return [dataclasses.replace(MISS, variant=f"N={n}") for n in range(number)]


def test_ten_thousand_variants_of_one_reason_take_a_screen() -> None:
    other = dataclasses.replace(MISS, variant="other", changes=(), reason="not in the cache")
    lines = list(explained([*many(10_000), other]))
    assert (
        lines[0] == "miss: gemm [N=0] for cpu, and 9,999 more variants of gemm for the same reason"
    )
    assert lines[1] == "  file {project}/a.h: aaaa -> bbbb"
    assert lines[2].startswith(f"    changed {iso(1e9)} (") and lines[2].endswith(" days ago)")
    assert "took 1 h 23 min together" in lines[3]
    assert lines[-1] == "10001 variants: 10,001 miss" and len(lines) < 12
    assert len([x for x in explained(many(50), every=True) if x.startswith("miss: ")]) == 50


def test_a_thousand_changes_are_not_listed() -> None:
    changes = tuple(dataclasses.replace(HEADER, component=f"file {n}") for n in range(50))
    lines = list(explained([dataclasses.replace(MISS, changes=changes, more_changes=950)]))
    assert "  and 992 other changes" in lines and len(lines) < 25


def test_one_that_is_gone_was_last_seen() -> None:
    gone = dataclasses.replace(HEADER, now="absent")
    assert any("last seen" in x for x in explained([dataclasses.replace(MISS, changes=(gone,))]))


def test_a_plan_of_ten_thousand() -> None:
    row = PlanRow("gemm", "N=0", "cpu", False, "mode: a -> b", expected_s=0.5, changes=(HEADER,))
    rows = [dataclasses.replace(row, variant=f"N={n}") for n in range(10_000)]
    lines = list(planned([*rows, PlanRow("ok", "-", "cpu", True)]))
    assert lines[0] == "build gemm [cpu] N=0: mode: a -> b" and len(lines) < 8
    assert "  and 9,999 more variants of gemm for the same reason" in lines
    assert lines[-2] == "expected: 1 h 23 min of work, from earlier builds"
    assert lines[-1] == "10001 variants: 1 hits, 10000 to build"


def test_escape_sequences_do_not_reach_the_terminal() -> None:
    bad = dataclasses.replace(HEADER, component="env X", now="\x1b[31mred")
    rows = [PlanRow("k", "\x1b[2J", "cpu", False, "r", changes=(HEADER, bad))]
    found = [*explained([dataclasses.replace(MISS, changes=(bad,))]), *planned(rows)]
    assert not any("\x1b" in line for line in found)


def test_a_verification_says_where() -> None:
    where = DifferenceRow(
        "k.so", 100, 120, 16, 22, 3, (".text", ".rodata"), "0x0: 00", "0x0: 01", "a hint"
    )
    only = DifferenceRow("k.txt", 3, -1, hint="only what is kept has it")
    rows = [
        VerifyRow("k", "N=1", "cpu", "different", "not reproducible: k.so", (where, only)),
        VerifyRow("k", "rows of a:b", "cpu", "same", stage="rows"),
        VerifyRow("k", "N=2", "cpu", "unbuilt", "not in the cache"),
    ]
    assert list(verified(rows)) == [
        "different: k [cpu] N=1: not reproducible: k.so",
        "  k.so (100 bytes, built again 120): 22 bytes differ in 3 places, in .text, .rodata,"
        " the first at 0x10",
        "    kept  0x0: 00",
        "    again 0x0: 01",
        "    hint: a hint",
        "  k.txt: only what is kept has it",
        "unbuilt: k [cpu] N=2: not in the cache",
        "1 question to the project's code asked again: 0 differ or fail",
        "1 variant built again without the cache: 1 differ or fail",
    ]


@pytest.mark.parametrize(
    "event",
    [
        PlanListed((
            PlanRow(
                "k", "N=1", "cpu", False, "r", changes=(HEADER,),
                stages=(StageRow("object", "a.cu", False, changes=(HEADER,)),),
                helpers=(StageRow("rows", "a:b", True),),
            ),
        )),
        VerifyListed((
            VerifyRow("k", "N=1", "cpu", "different", "d",
                      (DifferenceRow("a", 1, 2, sections=(".text",)),), "rows"),
        )),
    ],
)  # fmt: skip
def test_rows_within_rows_survive_the_wire(event: PlanListed | VerifyListed) -> None:
    assert decode(encode(event)) == event


def test_what_a_newer_writer_says_in_a_row_is_passed_over() -> None:
    values = json.loads(encode(PlanListed((PlanRow("k", "N=1", "cpu", True, changes=(HEADER,)),))))
    values["rows"][0] |= {"colour": "red"}
    values["rows"][0]["changes"][0] |= {"colour": "red"}
    found = decode(json.dumps(values))
    assert isinstance(found, PlanListed) and found.rows[0].changes == (HEADER,)


def test_times_that_are_none() -> None:
    assert iso(float("nan")) == iso(float("inf")) == iso(1e300) == ""
    assert ago("yesterday") == "at an unknown time" and ago(iso(4e9)) == "in the future"


def test_a_launch_that_differs_in_many_things_shows_the_first() -> None:
    def shown(number: int) -> list[str]:
        changes = tuple(ChangeRow("runtime", f"x{n}", "1", "2") for n in range(number))
        row = RuntimeRow("gemm", "N=0", "cpu", "compiles", "why", "N=1", changes)
        return [line.strip() for line in looked_up([row]) if line.startswith("    ")]

    assert shown(3) == [f"x{n}: 1 there, 2 here" for n in range(3)]
    assert shown(8) == [f"x{n}: 1 there, 2 here" for n in range(8)]
    assert shown(10) == [*shown(8), "and 2 other differences"]


def test_showing_reasons_imports_no_engine() -> None:
    """`plan` and `explain` ask the driver, which is another process."""
    heavy = "{'aot_build.workspace', 'aot_build.plan', 'aot_build.opening'}"
    script = f"import aot_build.report.reasons, sys; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")
