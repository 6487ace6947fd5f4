"""JSON schema and reference of the options: `python -m aot_build.settings.schema --write`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, cast

import msgspec

from aot_build.settings.model import Kernel, KernelDefaults, Override, Project
from aot_build.settings.reference import docstrings, markdown

TOOL = "aot-build"
SCHEMA = Path(__file__).with_name("schema.json")
OPTIONS = Path(__file__).parents[2] / "docs" / "options.md"


def get_schema(tool_name: str = TOOL) -> dict[str, Any]:
    """The schema of `[tool.aot-build]`: a plug-in of the group `validate_pyproject.tool_schema`.

    Raises ValueError for the name of another tool.
    """
    if tool_name != TOOL:
        raise ValueError(f"no schema for the tool {tool_name!r}")
    return cast(dict[str, Any], json.loads(SCHEMA.read_text(encoding="utf-8")))


def make_schema() -> dict[str, Any]:
    """The schema, from the models; draft 7, without references, as validators of pyproject.toml
    resolve them against their own addresses."""
    override = _object(Override)
    for spec in override["properties"].values():
        spec.pop("default", None)
    project = _object(Project)
    properties = project["properties"]
    kernel = {**_object(Kernel), "additionalProperties": True}
    defaults = {**_object(KernelDefaults), "additionalProperties": True}
    properties["kernels"]["items"] = kernel
    properties["overrides"]["items"] = override
    for holder in (properties, override["properties"]):
        holder["defaults"]["additionalProperties"] = defaults
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:aot-build:settings",
        "title": "aot-build",
        **project,
    }


def _object(model: type[msgspec.Struct]) -> dict[str, Any]:
    """One model with its fields' docstrings as descriptions."""
    _, models = msgspec.json.schema_components([model])
    found = cast(dict[str, Any], _inlined(models[model.__name__], models))
    texts = docstrings(model)
    for field in msgspec.structs.fields(model):
        found["properties"][field.encode_name]["description"] = texts[field.name]
    found["description"] = " ".join((model.__doc__ or "").split())
    found.pop("title", None)
    return found


def _inlined(value: Any, models: dict[str, Any]) -> Any:
    """A schema with its references replaced and TOML's missing null left out."""
    if isinstance(value, list):
        return [_inlined(v, models) for v in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return _inlined(models[value["$ref"].rpartition("/")[2]], models)
    found = {k: _inlined(v, models) for k, v in value.items() if (k, v) != ("default", None)}
    if "anyOf" in found:
        found["anyOf"] = [v for v in found["anyOf"] if v != {"type": "null"}]
        if len(found["anyOf"]) == 1:
            found |= found.pop("anyOf")[0]
    return found


def twins() -> dict[Path, str]:
    """The generated files, and what they must hold."""
    schema = json.dumps(make_schema(), indent=2, sort_keys=True) + "\n"
    return {SCHEMA: schema, OPTIONS: markdown()}


def main(arguments: list[str]) -> int:
    """Write the generated files, or say which of them are out of date (exit status 1)."""
    parser = argparse.ArgumentParser(prog="python -m aot_build.settings.schema")
    parser.add_argument("--write", action="store_true", help="write the generated files")
    write = parser.parse_args(arguments).write
    old = [f for f, text in twins().items() if not f.is_file() or f.read_text("utf-8") != text]
    for file in old:
        if write:
            file.parent.mkdir(exist_ok=True)
            file.write_text(twins()[file], encoding="utf-8")
        print(f"{'wrote' if write else 'out of date:'} {file}")
    return 1 if old and not write else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
