"""JSON schema of the options, generated from the models; see aot_build/twins.py."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from aot_build.settings.model import Kernel, KernelDefaults, Override, Project
from aot_build.settings.reference import docstrings

TOOL = "aot-build"
SCHEMA = Path(__file__).with_name("schema.json")


def get_schema(tool_name: str = TOOL) -> dict[str, Any]:
    """The schema of `[tool.aot-build]`: a plug-in of the group `validate_pyproject.tool_schema`.

    Raises ValueError for the name of another tool.
    """
    if tool_name != TOOL:
        raise ValueError(f"no schema for the tool {tool_name!r}")
    return cast(dict[str, Any], json.loads(SCHEMA.read_text(encoding="utf-8")))


def make_schema(backends: Mapping[str, type[msgspec.Struct]]) -> dict[str, Any]:
    """The schema, from the models and each backend's own keys.

    Draft 7, without references, as validators of pyproject.toml resolve them against their own
    addresses. A kernel of a backend that is not among these may hold any further key.
    """
    override = _object(Override)
    for spec in override["properties"].values():
        spec.pop("default", None)
    project = _object(Project)
    properties = project["properties"]
    kernel = {**_object(Kernel), "additionalProperties": True}
    kernel["allOf"] = [
        {"if": {"properties": {"backend": {"const": name}}}, "then": _with_keys(Kernel, options)}
        for name, options in sorted(backends.items())
    ]
    defaults = {**_object(KernelDefaults), "additionalProperties": True}
    properties["kernels"]["items"] = kernel
    properties["overrides"]["items"] = override
    for holder in (properties, override["properties"]):
        holder["defaults"]["additionalProperties"] = defaults
        holder["defaults"]["properties"] = {
            name: {**defaults, **_with_keys(KernelDefaults, options)}
            for name, options in sorted(backends.items())
        }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:aot-build:settings",
        "title": "aot-build",
        **project,
    }


def _with_keys(model: type[msgspec.Struct], options: type[msgspec.Struct]) -> dict[str, Any]:
    """The types of a backend's own keys, and that there are no keys but these and the model's."""
    own = _object(options)["properties"]
    common = [f.encode_name for f in msgspec.structs.fields(model)]
    return {"properties": own, "propertyNames": {"enum": sorted([*common, *own])}}


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
