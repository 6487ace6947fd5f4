"""Real pools."""

import itertools
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from aot_build.execute.pool import LocalPool
from aot_build.execute.protocol import Job, JobEnd
from tests.execute.trees import ENTRIES, TAG, Run


@pytest.fixture(autouse=True)
def entries_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers find the modules in `entries` by this process's sys.path alone."""
    monkeypatch.syspath_prepend(str(ENTRIES))


@pytest.fixture
def tag(monkeypatch: pytest.MonkeyPatch) -> str:
    """A value in the environment of everything that the test starts from now on."""
    value = secrets.token_hex(8)
    monkeypatch.setenv(TAG, value)
    return value


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[LocalPool]:
    """A pool of two slots."""
    with LocalPool(2, log=tmp_path / "forkserver.log") as pool:
        yield pool


@pytest.fixture
def run(pool: LocalPool, tmp_path: Path) -> Run:
    """Run one job to its end, in a scratch folder of its own."""

    numbers = itertools.count()

    def run(entry: str, payload: bytes = b"", **fields: object) -> JobEnd:
        number = next(numbers)
        scratch = tmp_path / f"scratch{number}"
        scratch.mkdir()
        log = str(tmp_path / f"{number}.log")
        name = entry if ":" in entry else f"entries:{entry}"
        values = {"id": number, "log": log, "scratch": str(scratch), **fields}
        pool.submit(Job(entry=name, payload=payload, **values))  # type: ignore[arg-type]
        ends: list[JobEnd] = []
        while not ends:
            ends = pool.wait()
        assert [end.id for end in ends] == [number]
        return ends[0]

    return run
