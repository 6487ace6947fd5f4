"""The bill of materials, whole."""

import pytest

from aot_build.wheels.sbom import add_sbom, sbom

MANIFEST = {
    "version": 1,
    "package": "demo.deep",
    "mode": "release",
    "producer": "aot-build 0.1.0",
    "toolchains": {"7c": {"name": "g++", "version": "12.2.0"}},
    "kernels": {
        "scale": {
            "backend": "cpp",
            "variants": [
                {
                    "target": "cpu",
                    "row": {"T": "float", "BLOCK": 128},
                    "metadata": {},
                    "toolchain": "7c",
                    "files": {
                        "scale.so": {"path": "scale/cpu/0a-scale.so", "sha256": "ab12", "size": 3}
                    },
                }
            ],
        }
    },
}
FILE = "file:demo/deep/_aot/scale/cpu/0a-scale.so"
ROOT = "pkg:pypi/my-demo@1.0"


def test_document_is_exactly_this():
    assert sbom(MANIFEST, "demo/deep/_aot", "My_Demo", "1.0") == {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": ROOT,
                "name": "My_Demo",
                "version": "1.0",
                "purl": ROOT,
            },
            "tools": {
                "components": [{"type": "application", "name": "aot-build", "version": "0.1.0"}]
            },
        },
        "components": [
            {
                "type": "file",
                "bom-ref": FILE,
                "name": "demo/deep/_aot/scale/cpu/0a-scale.so",
                "hashes": [{"alg": "SHA-256", "content": "ab12"}],
                "properties": [
                    {"name": "aot-build:backend", "value": "cpp"},
                    {"name": "aot-build:kernel", "value": "scale"},
                    {"name": "aot-build:row", "value": '{"BLOCK": 128, "T": "float"}'},
                    {"name": "aot-build:target", "value": "cpu"},
                    {"name": "aot-build:toolchain", "value": "toolchain:7c"},
                ],
            },
            {
                "type": "application",
                "bom-ref": "toolchain:7c",
                "name": "g++",
                "version": "12.2.0",
                "scope": "excluded",
            },
        ],
        "dependencies": [{"ref": ROOT, "dependsOn": [FILE]}],
    }


@pytest.mark.parametrize(
    ("name", "version", "url"),
    [
        ("My_.-Demo", "1.0", "pkg:pypi/my-demo@1.0"),
        ("demo", "1.0rc1+cpu.2", "pkg:pypi/demo@1.0rc1%2Bcpu.2"),
        ("demo", "1!2.0", "pkg:pypi/demo@1%212.0"),
    ],
)
def test_package_url_is_canonical(name, version, url):
    component = sbom(MANIFEST, "demo/_aot", name, version)["metadata"]["component"]
    assert (component["purl"], component["name"], component["version"]) == (url, name, version)


def test_time_is_only_that_of_the_epoch_asked_for():
    document = sbom(MANIFEST, "demo/_aot", "demo", "1.0", "0")
    assert document["metadata"]["timestamp"] == "1970-01-01T00:00:00Z"


def test_file_is_the_same_twice(tmp_path, monkeypatch):
    import json

    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    result = tmp_path / "_aot"
    result.mkdir()
    (result / "manifest.json").write_text(json.dumps(MANIFEST))
    first = add_sbom(tmp_path / "a", result, "demo.deep", "demo", "1.0")
    second = add_sbom(tmp_path / "b", result, "demo.deep", "demo", "1.0")
    assert first.relative_to(tmp_path / "a").as_posix() == "sboms/aot-build.cdx.json"
    assert first.read_bytes() == second.read_bytes()
    assert json.loads(first.read_text())["components"][0]["name"].startswith("demo/deep/_aot/")
