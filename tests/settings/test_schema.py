"""The generated twins, and the schema as a plug-in of validate-pyproject."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from aot_build import twins
from aot_build.settings import schema

ROOT = Path(__file__).parents[2]


def test_generated_files_are_up_to_date():
    for file, text in twins.twins().items():
        assert file.read_text(encoding="utf-8") == text, f"run {twins.__name__} --write"


def test_check_says_what_is_out_of_date(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(twins, "OPTIONS", tmp_path / "docs" / "options.md")
    assert twins.main([]) == 1
    assert "out of date" in capsys.readouterr().out
    assert twins.main(["--write"]) == 0 and twins.main([]) == 0


def test_schema_of_another_tool():
    with pytest.raises(ValueError, match="other"):
        schema.get_schema("other")


def validate(text: str) -> dict[str, Any]:
    api = pytest.importorskip("validate_pyproject.api")
    plugins = pytest.importorskip("validate_pyproject.plugins")
    plugin = plugins.PluginWrapper("aot-build", schema.get_schema)
    return api.Validator(plugins=[plugin])(tomllib.loads(text))


def test_validate_pyproject_takes_our_own_file():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "aot-build" in validate(text)["tool"]


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("jbos = 1", "jbos"),
        ("mode = 'relase'", "mode"),
        ("timeout = 0", "timeout"),
        ("[[tool.aot-build.kernels]]\nname = 'a'", "backend"),
        ("[[tool.aot-build.kernels]]\nname = 'a'\nbackend = 'cpp'\nsorce = 'x'", "one of"),
        ("[[tool.aot-build.kernels]]\nname = 'a'\nbackend = 'cpp'\nopenmp = 1", "openmp"),
        ("[tool.aot-build.defaults.cpp]\nflag = ['-g']", "flag"),
        ("[[tool.aot-build.overrides]]\nif = {os = 'x'}", "os"),
    ],
)
def test_validate_pyproject_refuses(table, key):
    errors = pytest.importorskip("validate_pyproject.errors")
    with pytest.raises(errors.ValidationError, match=key):
        validate(f"[tool.aot-build]\n{table}\n")
