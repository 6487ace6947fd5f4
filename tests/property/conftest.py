"""What the tests of truth share."""

from collections.abc import Iterator

import pytest

from tests.property.truth.engine import InProcess
from tests.property.truth.recorder import Recorder, make_recorder


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    return make_recorder(tmp_path_factory.mktemp("recorder"))


@pytest.fixture(scope="module")
def engine() -> Iterator[InProcess]:
    """Its pool stays: starting it costs ten edits."""
    made = InProcess()
    yield made
    made.close()
