"""Tables as ROCm/aiter keeps them."""

from pathlib import Path

import pytest

REAL = Path(__file__).parents[4] / "shared" / "data" / "aiter_tuned"


@pytest.fixture
def real() -> Path:
    """Their folder, which some checkouts have beside them."""
    if not REAL.is_dir():
        pytest.skip("needs the folder shared/data beside the checkout")
    return REAL
