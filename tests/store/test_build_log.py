"""The build log explains, and never decides: whatever befalls it costs an explanation."""

from pathlib import Path

import pytest

from aot_build.core.record import Record
from aot_build.store.log import BuildLog


def test_records_come_back_and_others_stay(tmp_path: Path) -> None:
    closure = {"file {project}/a.h": "0" * 32}
    one = Record({"mode": "release"}, closure, "hit", "never built here", 1.5)
    two = Record({"mode": "debug"}, closure, "mode: release -> debug", "x", 0.0)
    BuildLog(tmp_path / "log").replace({"one": one, "two": two})
    changed = Record({"mode": "fast"}, {}, "hit", "", 2.0)
    BuildLog(tmp_path / "log").replace({"two": changed})
    log = BuildLog(tmp_path / "log")
    assert log.all() == {"one": one, "two": changed}
    assert log.get("three") is None


def test_equal_closures_are_kept_once(tmp_path: Path) -> None:
    closure = {f"file {{project}}/{n}.h": "0" * 32 for n in range(100)}
    for count in (1, 50):
        log = BuildLog(tmp_path / str(count))
        log.replace({str(n): Record({}, dict(closure), "hit", "", 0.0) for n in range(count)})
    assert (tmp_path / "50").stat().st_size < 2 * (tmp_path / "1").stat().st_size


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\x92\x81\xa1a\x95\x80\xa1x\xa0\xa0\x00\x80"])
def test_a_damaged_log_is_an_empty_one(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "log").write_bytes(damage)
    log = BuildLog(tmp_path / "log")
    assert log.all() == {}
    log.replace({"one": Record(decision="hit")})
    assert BuildLog(tmp_path / "log").get("one") == Record(decision="hit")


def test_a_log_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    log = BuildLog(tmp_path / "file" / "log")
    log.replace({"one": Record()})
    assert log.get("one") == Record()


def test_a_complete_build_drops_what_is_no_longer_declared(tmp_path: Path) -> None:
    one, two = Record(decision="hit"), Record(decision="never built here")
    BuildLog(tmp_path / "log").replace({"one": one, "two": two})
    log = BuildLog(tmp_path / "log")
    log.replace({"two": one}, complete=True)
    assert log.all() == BuildLog(tmp_path / "log").all() == {"two": one}
