"""A software bill of materials for what ships in `_aot`: CycloneDX 1.6 as JSON.

Its place in a wheel, `.dist-info/sboms/`, is that of PEP 770. Equal builds write equal bytes: no
serial number, and a time only where SOURCE_DATE_EPOCH fixes it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aot_build.layout import MANIFEST
from aot_build.wheels.requirements import pins_of

NAME = "aot-build.cdx.json"
FOLDER = "sboms"


def add_sbom(
    dist_info: str | os.PathLike[str], result: Path, package: str, name: str, version: str
) -> Path:
    """Write the SBOM of a result into a `.dist-info` folder; `name` is the distribution's."""
    manifest = json.loads((result / MANIFEST).read_bytes())
    place = f"{package.replace('.', '/')}/{result.name}"
    target = Path(dist_info, FOLDER, NAME)
    target.parent.mkdir(parents=True, exist_ok=True)
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    text = json.dumps(sbom(manifest, place, name, version, epoch), indent=1, sort_keys=True)
    target.write_text(text + "\n", encoding="utf-8")
    return target


def sbom(
    manifest: Mapping[str, Any], place: str, name: str, version: str, epoch: str | None = None
) -> dict[str, Any]:
    """The document for a manifest whose files ship below the folder `place` of the wheel."""
    root = _purl(name, version)
    files = sorted(_files(manifest, place), key=lambda component: str(component["name"]))
    needed = [_distribution(*pin) for pin in sorted(pins_of(manifest))]
    tools = list(_toolchains(manifest))
    metadata: dict[str, Any] = {
        "component": {
            "type": "library",
            "bom-ref": root,
            "name": name,
            "version": version,
            "purl": root,
        },
        "tools": {"components": [_producer(manifest)]},
    }
    if epoch:
        moment = time.gmtime(int(epoch))
        metadata["timestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", moment)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": files + needed + tools,
        "dependencies": [{"ref": root, "dependsOn": [c["bom-ref"] for c in files + needed]}],
    }


def _purl(name: str, version: str) -> str:
    """The package URL of a distribution (type `pypi` of the purl specification)."""
    # Imported here: the command classes are looked up for every `--version` as well.
    from packaging.utils import canonicalize_name

    # A local version has a `+`, which the specification wants encoded.
    return f"pkg:pypi/{canonicalize_name(name)}@{quote(version, safe='.-_~:')}"


def _files(manifest: Mapping[str, Any], place: str) -> Iterator[dict[str, Any]]:
    for kernel, table in manifest["kernels"].items():
        for variant in table["variants"]:
            about = {
                "kernel": kernel,
                "backend": table["backend"],
                "target": variant["target"],
                "row": json.dumps(variant["row"], sort_keys=True),
                "toolchain": _toolchain_ref(variant["toolchain"]),
            }
            for file in variant["files"].values():
                yield _file(f"{place}/{file['path']}", file, about)


def _file(path: str, file: Mapping[str, Any], about: Mapping[str, str]) -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": f"file:{path}",
        "name": path,
        "hashes": [{"alg": "SHA-256", "content": file["sha256"]}],
        "properties": [
            {"name": f"aot-build:{key}", "value": value} for key, value in sorted(about.items())
        ],
    }


def _distribution(name: str, version: str) -> dict[str, Any]:
    """One that the wheel requires for its artifacts' sake."""
    purl = _purl(name, version)
    about = {"name": name, "version": version, "purl": purl, "scope": "required"}
    return {"type": "library", "bom-ref": purl, **about}


def _toolchains(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for digest, toolchain in sorted(manifest["toolchains"].items()):
        yield {
            "type": "application",
            "bom-ref": _toolchain_ref(digest),
            "name": toolchain["name"],
            "version": toolchain["version"],
            # Built with, not shipped: CycloneDX calls that excluded.
            "scope": "excluded",
        }


def _toolchain_ref(digest: str) -> str:
    return f"toolchain:{digest}"


def _producer(manifest: Mapping[str, Any]) -> dict[str, Any]:
    name, _, version = str(manifest["producer"]).partition(" ")
    return {"type": "application", "name": name, "version": version}
