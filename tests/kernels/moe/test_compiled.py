"""Rows of tuned tables, compiled for GPUs whose matrix units take block-scaled numbers."""

import re

import pytest

pytest.importorskip("triton")

from aot_kernels.tuned import table
from aot_kernels.tuned.grouped_moe import KNOWN, triton

from tests.kernels.test_gpu_compiled import compiled

SHARED_MEMORY = {"hip:gfx950": 163_840, "hip:gfx1250": 327_680}
pytestmark = [pytest.mark.triton, pytest.mark.torch, pytest.mark.slow]


@pytest.mark.parametrize("target", KNOWN)
def test_shipped_rows_use_the_scaled_instructions(target, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv(table.VARIABLE, raising=False)
    rows = [dict(row) for row in triton([target]) if row["target"] == target]
    assert len(rows) == 4
    for row in rows:
        row.pop("target")
        found = compiled("gpu_grouped_moe_tuned", target, row)
        assembly = found.asm["amdgcn"]
        assert found.metadata.shared <= SHARED_MEMORY[target]
        assert re.search(r"v_(?:mfma|wmma)_scale_f32_\w+_f8f6f4", assembly)
        assert re.findall(r"(?:vgpr|sgpr)_spill_count:\s*(\d+)", assembly) == ["0", "0"]
        assert re.search(r"load_(?:lds_dwordx4|async_to_lds_b128)", assembly)
        assert not re.search(r"load_(?:lds_dword|async_to_lds_b(?:32|64))\b", assembly)
