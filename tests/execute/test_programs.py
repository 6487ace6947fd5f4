"""Programs that a job calls, and what their ends make of it."""

import itertools
from pathlib import Path

import pytest

from aot_build.execute import forkserver, wire
from aot_build.execute.pool import LocalPool
from aot_build.execute.protocol import Job
from tests.execute.trees import Run


@pytest.mark.parametrize("entry", ["call", "wrapped_call"])
@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (b"exit 1", "error"),
        (b"kill -SEGV $$", "crashed"),
        (b"kill -KILL $$", "crashed"),
        (b"sh -c 'kill -ABRT $$'; exit $?", "crashed"),
        (b"echo 'cc1plus: out of memory allocating 8 bytes after' >&2; exit 1", "memory"),
    ],
)
def test_programs_that_a_function_calls(run: Run, entry: str, script: bytes, outcome: str) -> None:
    assert run(entry, script).outcome == outcome


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[wire.Sampled]:
    """What pools are told of sizes."""
    told: list[wire.Sampled] = []
    feed = wire.Reports.feed

    def noted(self: wire.Reports, piece: bytes):  # type: ignore[no-untyped-def]
        reports = list(feed(self, piece))
        told.extend(report for report in reports if isinstance(report, wire.Sampled))
        return reports

    monkeypatch.setattr(wire.Reports, "feed", noted)
    return told


@pytest.mark.slow
def test_growth_is_told_while_it_happens(tmp_path: Path, told: list[wire.Sampled]) -> None:
    with LocalPool(1, log=tmp_path / "log") as pool:
        pool.submit(Job(7, "entries:grow", b""))
        (end,) = pool.wait(60)
    assert {report.id for report in told} == {7}
    sizes = [report.bytes for report in told]
    # It may have been seen on its way out, too.
    sizes = sizes[: sizes.index(max(sizes)) + 1]
    assert sizes == sorted(sizes) and len(sizes) >= 2
    assert all(b - a > forkserver.TOLD_BYTES for a, b in itertools.pairwise(sizes))
    assert 300 << 20 <= end.peak_bytes < 360 << 20


@pytest.mark.slow
def test_what_has_shrunk_does_not_count_as_taken(tmp_path: Path, told: list[wire.Sampled]) -> None:
    """The room that it left is seen as free: counted in both places it would be given out twice."""
    with LocalPool(1, log=tmp_path / "log") as pool:
        pool.submit(Job(7, "entries:shrink", b""))
        pool.wait(60)
    sizes = [report.bytes for report in told]
    assert max(sizes) >= 200 << 20 and sizes[-1] < 100 << 20
