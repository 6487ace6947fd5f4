"""The other part of the edits of test_truth_properties.py: files are what processes share."""

import pytest

from tests.property.truth.engine import InProcess
from tests.property.truth.machine import check_part
from tests.property.truth.recorder import Recorder

pytestmark = [pytest.mark.compiler, pytest.mark.slow]


def test_a_build_after_any_edit_is_a_clean_build(recorder: Recorder, engine: InProcess) -> None:
    check_part(1, recorder, engine)
