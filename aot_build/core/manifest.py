"""What ships: kernel + variant + target -> artifact.

`manifest.json`, version 1, is read by the runtime module, which imports nothing of this package:

    {"version": 1, "package": "demo", "mode": "release", "producer": "aot-build 0.1.0",
     "toolchains": {"<digest>": {"name": "g++", "version": "12.2.0"}},
     "kernels": {"scale": {"backend": "cpp", "variants": [
       {"target": "cpu", "row": {"BLOCK": 128, "T": "float"}, "metadata": {},
        "toolchain": "<digest>",
        "files": {"scale.so": {"path": "scale/cpu/<id>-scale.so", "sha256": "...", "size": 15}}}]}}}

`path` is relative to the manifest. A variant of one file lies at `<kernel>/<target>/<id>-<name>`,
one of several in the folder `<kernel>/<target>/<id>/`. Kernels are sorted by name, variants by
target and canonical row, so that equal builds write equal bytes.

As text it is JSON without spaces, broken into lines: one for each variant, which begins with the
target and the row, its columns sorted by name. The runtime module finds a variant by that text and
parses its line alone; it reads a manifest that was laid out otherwise, too, but all of it at once.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aot_build.core.artifact import Artifact
from aot_build.core.kernel import Value, Variant
from aot_build.core.toolchain import Toolchain
from aot_build.digest import bytes_digest, canonical

VERSION = 1
ONE_FOLDER = frozenset({"flydsl"})
"""Backends whose files all go to one folder at run time, under their names."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One variant with what was built for it."""

    variant: Variant
    toolchain: Toolchain
    artifacts: tuple[Artifact, ...]
    metadata: dict[str, Any] = field(default_factory=dict)


def variant_id(variant: Variant) -> str:
    """16 hexadecimal digits that name a variant within its kernel and target."""
    return bytes_digest(canonical(variant.row))[:16]


def place(variant: Variant, artifacts: tuple[Artifact, ...]) -> dict[str, str]:
    """Where each artifact of a variant lies: its name -> path relative to the manifest."""
    folder = f"{variant.kernel.name}/{variant.target.folder}"
    name = variant_id(variant)
    if len(artifacts) == 1:
        only = artifacts[0].name
        return {only: f"{folder}/{name}-{only.rpartition('/')[2]}"}
    return {artifact.name: f"{folder}/{name}/{artifact.name}" for artifact in artifacts}


def clashes(entries: Iterable[Entry]) -> list[tuple[Entry, Entry, str]]:
    """Pairs of variants that left different files of one name, where names alone count; the name.

    Each variant is the second of a pair once at most. Equal files of one name are no clash: each
    variant ships its own, and at run time there is one.
    """
    known: dict[tuple[str, str], tuple[str, Entry]] = {}
    found = []
    for entry in sorted(entries, key=_order):
        backend = entry.variant.kernel.backend
        for artifact in entry.artifacts if backend in ONE_FOLDER else ():
            digest, first = known.setdefault((backend, artifact.name), (artifact.digest, entry))
            if digest != artifact.digest:
                found.append((first, entry, artifact.name))
                break
    return found


def manifest(package: str, mode: str, producer: str, entries: list[Entry]) -> dict[str, Any]:
    """The manifest of a package, as JSON values."""
    kernels: dict[str, Any] = {}
    for entry in sorted(entries, key=_order):
        spec = entry.variant.kernel
        kernel = kernels.setdefault(spec.name, {"backend": spec.backend, "variants": []})
        kernel["variants"].append(_variant(entry))
    toolchains = {e.toolchain.digest: e.toolchain for e in entries}
    return {
        "version": VERSION,
        "package": package,
        "mode": mode,
        "producer": producer,
        "toolchains": {
            digest: {"name": t.name, "version": t.version}
            for digest, t in sorted(toolchains.items())
        },
        "kernels": kernels,
    }


def manifest_text(made: dict[str, Any]) -> str:
    """A manifest as the text of its file."""
    head = [f"{_text(name)}:{_text(value)}," for name, value in made.items() if name != "kernels"]
    kernels = ",\n".join(_kernel_text(name, kernel) for name, kernel in made["kernels"].items())
    lines = ["{" + head[0], *head[1:], '"kernels":{', *([kernels] if kernels else ()), "}}", ""]
    return "\n".join(lines)


def _kernel_text(name: str, kernel: dict[str, Any]) -> str:
    variants = ",\n".join(map(_variant_text, kernel["variants"]))
    return f'{_text(name)}:{{"backend":{_text(kernel["backend"])},"variants":[\n{variants}\n]}}'


def _variant_text(variant: dict[str, Any]) -> str:
    """Target and row first, sorted: what the runtime searches the text for."""
    row = dict(sorted(variant["row"].items()))
    return _text(dict.fromkeys(("target", "row")) | variant | {"row": row})


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _order(entry: Entry) -> tuple[str, str, bytes]:
    variant = entry.variant
    return variant.kernel.name, str(variant.target), canonical(variant.row)


def _variant(entry: Entry) -> dict[str, Any]:
    paths = place(entry.variant, entry.artifacts)
    return {
        "target": str(entry.variant.target),
        "row": {name: _json(value) for name, value in entry.variant.row},
        "metadata": entry.metadata,
        "toolchain": entry.toolchain.digest,
        "files": {
            a.name: {"path": paths[a.name], "sha256": a.digest, "size": a.size}
            for a in sorted(entry.artifacts)
        },
    }


def _json(value: Value) -> Any:
    return [_json(v) for v in value] if isinstance(value, tuple) else value
