"""Never stale, never rebuilt needlessly: random edits to random projects, and builds after each.

`AOT_TEST_EDITS=100000 pytest tests/property -k truth` makes more of them, `AOT_TEST_SEED=7` others;
for nights there is `python -m tests.property.truth --edits 1000000`.
"""

import pytest

from tests.property.truth.engine import InProcess
from tests.property.truth.machine import check_part
from tests.property.truth.recorder import Recorder

pytestmark = [pytest.mark.compiler, pytest.mark.slow]


def test_a_build_after_any_edit_is_a_clean_build(recorder: Recorder, engine: InProcess) -> None:
    check_part(0, recorder, engine)
