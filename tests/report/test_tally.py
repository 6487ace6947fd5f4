"""The exact text of the tally."""

from aot_build.events import FailureRow, Summary
from aot_build.report.summary import effort, tally

LONG = "\n".join(f"gemm.cpp:{line}: error: bad \x1b[1mtype" for line in range(1, 10))

ROWS = (
    FailureRow("gemm", "BM=128, T=bf16", "cpu", LONG, "/p/build/aot/logs/8a1f.log", "error"),
    FailureRow("gemm", "BM=64, T=bf16", "cpu", "killed after 1200 s\n", "/p/9.log", "timeout"),
    FailureRow("gemm", "BM=32, T=bf16", "cpu", "one\n\nthree", "", "error"),
    FailureRow("rmsnorm", "-", "hip:gfx942", "", "", "crashed"),
    FailureRow("rmsnorm", "N=8", "hip:gfx942", "not started", "", "skipped"),
)

TEXT = """\
5 of 24 variants failed
  gemm:    2 error, 1 timed out
  rmsnorm: 1 crashed, 1 skipped

gemm [BM=128, T=bf16] for cpu: error
  gemm.cpp:1: error: bad ?[1mtype
  gemm.cpp:2: error: bad ?[1mtype
  gemm.cpp:3: error: bad ?[1mtype
  gemm.cpp:4: error: bad ?[1mtype
  gemm.cpp:5: error: bad ?[1mtype
  gemm.cpp:6: error: bad ?[1mtype
  ... 3 more lines
  log: /p/build/aot/logs/8a1f.log

gemm [BM=64, T=bf16] for cpu: timed out
  killed after 1200 s
  log: /p/9.log

gemm [BM=32, T=bf16] for cpu: error
  one

  three

rmsnorm for hip:gfx942: crashed"""


def test_the_whole_text() -> None:
    assert tally(Summary(actions=24, failed=5, failures=ROWS)) == TEXT


def test_no_failure_no_text() -> None:
    assert tally(Summary(actions=24, hits=24)) == ""


def test_the_rest_is_counted() -> None:
    rows = tuple(FailureRow("k", f"N={n}", "cpu", f"bad {n}", "") for n in range(400))
    text = tally(Summary(actions=400, failed=400, failures=rows))
    assert text.startswith("400 of 400 variants failed\n  k: 400 error\n\nk [N=0] for cpu: error\n")
    assert text.count("\n  bad") == 20
    assert text.endswith("\n\nand 380 more failures")
    assert tally(Summary(actions=21, failed=21, failures=rows[:21])).endswith("and 1 more failure")


def test_the_same_words_are_said_once() -> None:
    rows = tuple(FailureRow("k", f"N={n}", "cpu", "bad\n", f"/{n}.log") for n in range(400))
    other = FailureRow("l", "-", "cpu", "bad", "", "crashed")
    text = tally(Summary(actions=401, failed=401, failures=(*rows[:7], other, *rows[7:])))
    assert (
        text
        == """\
401 of 401 variants failed
  k: 400 error
  l: 1 crashed

k [N=0] for cpu: error
  bad
  log: /0.log
  and so [N=1] for cpu, [N=2] for cpu, [N=3] for cpu and 396 more variants

l for cpu: crashed
  bad"""
    )


def test_a_build_that_ran_nothing_cost_nothing() -> None:
    assert effort(Summary(actions=3, hits=3, workers=2)) == ""
