"""Rows of tuned tables of gated delta nets."""

import pytest
from aot_kernels.drivers.family import TARGETS
from aot_kernels.tuned import chunk_gdn_h, table

NAMES = (
    "gfx", "cu_num", "dtype", "K", "V", "BT", "H", "Hg", "is_varlen", "use_h0", "store_fs",
    "snapshot_bf16", "state_bf16", "T_flat", "N", "total_chunks", "max_seq_chunks", "BV", "us",
)  # fmt: skip
ROW = dict(zip(NAMES, (
    "gfx942", "80", "torch.bfloat16", "128", "128", "64", "32", "16", "False", "True", "False",
    "True", "False", "2048", "1", "32", "32", "64", "147.9",
), strict=True))  # fmt: skip


@pytest.fixture
def listed(tmp_path, monkeypatch):
    def read(*changes):
        path = tmp_path / "t.csv"
        lines = [",".join(NAMES), *(",".join({**ROW, **each}.values()) for each in changes)]
        path.write_text("\n".join(lines))
        monkeypatch.setenv(table.VARIABLE, str(path))
        return list(chunk_gdn_h.triton(TARGETS))

    return read


def test_a_row_is_a_variant(listed):
    assert listed({}) == [{
        "dtype": "bf16", "snapshot": "bf16", "state": "fp32", "K": 128, "V": 128, "BT": 64,
        "BV": 64, "H": 32, "Hg": 16, "use_h0": True, "store_fs": False, "is_varlen": False,
        "num_warps": 4, "num_stages": 2, "target": "hip:gfx942",
    }]  # fmt: skip


def test_lengths_make_no_variant_but_what_is_compiled_in_does(listed):
    assert len(listed({}, {"T_flat": "65536", "N": "8", "us": "1", "max_seq_chunks": "9"})) == 1
    for name, value in {
        "H": "48", "Hg": "8", "V": "256", "K": "64", "BV": "16", "BT": "32", "use_h0": "0",
        "store_fs": "1", "is_varlen": "true", "snapshot_bf16": "no", "state_bf16": "yes",
        "gfx": "gfx950", "dtype": "torch.float16",
    }.items():  # fmt: skip
        assert len(listed({}, {name: value})) == 2, name


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"H": "33"}, "H = 33 is no multiple of Hg = 16"),
        ({"Hg": "0"}, "Hg is no number: '0'"),
        ({"V": "96"}, "V = 96 is no multiple of BV = 64"),
        ({"K": "96"}, "K = 96 is none of 16, 32, 64, 128, 256"),
        ({"dtype": "torch.int8"}, "unsupported dtype 'int8'; known: bf16, fp16"),
        ({"is_varlen": "perhaps"}, "unknown is_varlen 'perhaps'; known: true"),
        ({"gfx": "gfx90a"}, "unsupported target 'gfx90a'; known: hip:gfx942"),
        ({"BV": ""}, "nothing in column 'BV'"),
    ],
)
def test_a_broken_row_costs_no_other(listed, change, reason):
    error, good = listed(change, {})
    assert isinstance(error, ValueError) and str(error).startswith(f"t.csv:2: {reason}")
    assert good["BV"] == 64


def test_shipped_rows_are_few_and_distinct(monkeypatch):
    monkeypatch.delenv(table.VARIABLE, raising=False)
    found = list(chunk_gdn_h.triton(TARGETS))
    assert {each["target"] for each in found} == {"hip:gfx942", "hip:gfx950"}
    assert len(found) <= 15 and not any(isinstance(each, ValueError) for each in found)


def test_real_tables(real, monkeypatch):
    files = sorted(real.glob("**/*chunk_gdn_h*.csv"))
    monkeypatch.setenv(table.VARIABLE, ":".join(map(str, files)))
    found = list(chunk_gdn_h.triton(TARGETS))
    # 184 rows.
    assert len(found) == 35 and {each["target"] for each in found} == {"hip:gfx942"}
