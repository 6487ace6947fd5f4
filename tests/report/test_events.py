"""Events on the wire, and the published summary."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import aot_build.events
from aot_build.events import (
    ActionFailed,
    ActionFinished,
    ActionRetried,
    ActionStarted,
    BuildError,
    BuildFinished,
    BuildStarted,
    Event,
    FailureRow,
    MissRow,
    Notice,
    PlanListed,
    PlanReady,
    PlanRow,
    Summary,
    VerifyListed,
    VerifyRow,
    decode,
    encode,
)

SUMMARY = Summary(
    actions=3, hits=1, executed=1, failed=1, retried=2, wall_s=1.5, cpu_s=2.25,
    critical_path_s=1.0, workers=2, helpers=4, cache_dir="/c",
    failures=(FailureRow("k", "N=1", "cpu", "two\nlines \u2018\udc80", "/l", "memory"),),
    misses=(MissRow("k", "N=2", "cpu", "toolchain: a -> b"),),
)  # fmt: skip


@pytest.mark.parametrize(
    "event",
    [
        BuildStarted("8a1f", "0.1.0"),
        PlanReady(24, 20, 4),
        ActionStarted("k", "N=1", "cpu"),
        ActionFinished("k", "N=1", "cpu", 1.25, 1, 4),
        ActionFailed("k", "N=1", "cpu", "error", "a\nb \u2018\udc80", "/l"),
        ActionRetried("k", "N=1", "cpu", "memory", 1),
        Notice("cache is not writable"),
        BuildFinished(SUMMARY),
        BuildFinished(SUMMARY, "demo"),
        BuildError("input", "unknown target", {"target": "cup"}, "did you mean 'cpu'?"),
        PlanListed((PlanRow("k", "N=1", "cpu", False, "never built here", 1.5, "param N"),)),
        VerifyListed((VerifyRow("k", "N=1", "cpu", "different", "k.so"),)),
    ],
)
def test_an_event_survives_the_wire(event: Event) -> None:
    line = encode(event)
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line)["event"] == type(event).__name__
    assert decode(line) == event


def test_a_newer_writer_may_say_more() -> None:
    assert decode('{"event": "Notice", "text": "x", "colour": "red"}') == Notice("x")


@pytest.mark.parametrize(
    "line",
    ["", "[]", "{", '{"event": "Nothing"}', '{"text": "x"}', '{"event": "Notice"}',
     '{"event": "BuildFinished"}', '{"event": "BuildFinished", "summary": {"failures": [1]}}'],
)  # fmt: skip
def test_what_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        decode(line)


def test_the_summary_has_the_published_keys_in_order() -> None:
    text = SUMMARY.to_json()
    assert "\n" not in text
    values = json.loads(text)
    assert list(values) == [
        "actions", "hits", "executed", "failed", "retried", "wall_s", "cpu_s",
        "critical_path_s", "workers", "helpers", "cache_dir", "failures", "misses",
        "makespan_s", "lower_bound_s",
    ]  # fmt: skip
    assert list(values["failures"][0]) == ["kernel", "variant", "target", "reason", "log"]
    assert list(values["misses"][0]) == ["kernel", "variant", "target", "reason"]
    assert Summary.from_json(text).to_json() == text


def test_the_standard_library_alone_reads_events() -> None:
    code = (
        "import sys; before = set(sys.modules); import aot_build.events;"
        "from aot_build.report import console, display, keepsakes, live;"
        "new = {n.partition('.')[0] for n in set(sys.modules) - before};"
        "assert new - set(sys.stdlib_module_names) == {'aot_build'}, new"
    )
    root = Path(aot_build.events.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
