"""bdist_wheel: tag, purity, bytes that depend on nothing but the content, SBOM."""

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from setuptools import Extension
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

pytestmark = pytest.mark.filterwarnings("ignore::setuptools.SetuptoolsDeprecationWarning")


class WritesFiles(build_ext):
    """Leaves an extension without needing a compiler."""

    def build_extension(self, ext: Extension) -> None:
        path = Path(self.get_ext_fullpath(ext.name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x7fELF extension")


def only_wheel(folder: Path = Path("dist")) -> zipfile.ZipFile:
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def platform_of(name: str) -> str:
    return name.removesuffix(".whl").rpartition("-")[2]


def test_artifacts_alone_make_a_wheel_for_a_platform_and_any_python(driver, setup):
    setup("bdist_wheel")
    with only_wheel() as wheel:
        name = Path(str(wheel.filename)).name
        assert name.startswith("demo-1.0-py3-none-") and platform_of(name) != "any"
        text = wheel.read("demo-1.0.dist-info/WHEEL").decode()
        assert "Root-Is-Purelib: false" in text
        assert f"Tag: py3-none-{platform_of(name)}" in text
        assert wheel.read("demo/_aot/scale/cpu/0a-scale.so") == b"\x7fELF scale"
        assert not [n for n in wheel.namelist() if ".data/" in n]


def test_extension_modules_keep_the_usual_tag(driver, setup):
    setup(
        "bdist_wheel",
        cmdclass={"build_ext": WritesFiles},
        ext_modules=[Extension("demo.x", ["demo/x.c"])],
    )
    with only_wheel() as wheel:
        assert "-cp3" in str(wheel.filename)
        assert "demo/_aot/manifest.json" in wheel.namelist()


def test_limited_api_keeps_abi3(driver, setup):
    setup(
        "bdist_wheel",
        "--py-limited-api=cp311",
        cmdclass={"build_ext": WritesFiles},
        ext_modules=[Extension("demo.x", ["demo/x.c"], py_limited_api=True)],
    )
    with only_wheel() as wheel:
        assert "-cp311-abi3-" in str(wheel.filename)


def test_platform_that_the_user_names_is_kept(driver, setup):
    setup("bdist_wheel", "--plat-name", "manylinux_2_28_x86_64")
    with only_wheel() as wheel:
        assert str(wheel.filename).endswith("-py3-none-manylinux_2_28_x86_64.whl")


def test_tag_that_the_project_writes_is_kept(driver, setup):
    class OwnTag(bdist_wheel):
        def get_tag(self) -> tuple[str, str, str]:
            return "py311", "none", super().get_tag()[2]

    setup("bdist_wheel", cmdclass={"bdist_wheel": OwnTag})
    with only_wheel() as wheel:
        assert "-py311-none-" in str(wheel.filename)


def test_without_kernels_the_wheel_is_pure(driver, setup, monkeypatch):
    monkeypatch.setenv("AOT_BUILD_TARGETS", "none")
    setup("bdist_wheel")
    with only_wheel() as wheel:
        assert str(wheel.filename).endswith("demo-1.0-py3-none-any.whl")
        assert "Root-Is-Purelib: true" in wheel.read("demo-1.0.dist-info/WHEEL").decode()
        assert not [n for n in wheel.namelist() if "_aot" in n or "sboms" in n]


def test_build_without_artifacts_installs_anywhere(driver, setup):
    driver.artifacts = {}
    setup("bdist_wheel")
    with only_wheel() as wheel:
        assert str(wheel.filename).endswith("demo-1.0-py3-none-any.whl")
        assert "demo/__init__.py" in wheel.namelist()


def test_sbom_names_package_artifacts_and_toolchain(driver, setup):
    setup("bdist_wheel")
    with only_wheel() as wheel:
        document = json.loads(wheel.read("demo-1.0.dist-info/sboms/aot-build.cdx.json"))
        assert "demo-1.0.dist-info/sboms/aot-build.cdx.json,sha256=" in (
            wheel.read("demo-1.0.dist-info/RECORD").decode()
        )
    assert document["metadata"]["component"]["purl"] == "pkg:pypi/demo@1.0"
    assert "timestamp" not in document["metadata"]
    file, tool = document["components"]
    assert file["name"] == "demo/_aot/scale/cpu/0a-scale.so"
    digest = hashlib.sha256(b"\x7fELF scale").hexdigest()
    assert file["hashes"] == [{"alg": "SHA-256", "content": digest}]
    assert (tool["name"], tool["version"]) == ("g++", "12.2.0")
    assert document["dependencies"] == [
        {"ref": "pkg:pypi/demo@1.0", "dependsOn": [file["bom-ref"]]}
    ]


def test_equal_content_makes_equal_bytes(driver, setup, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    made = []
    for mask in (0o022, 0o077):
        before = os.umask(mask)
        try:
            for folder in ("build", "dist", "demo.egg-info"):
                shutil.rmtree(folder, ignore_errors=True)
            Path("demo/__init__.py").unlink()
            Path("demo/__init__.py").write_text("")
            setup("bdist_wheel")
        finally:
            os.umask(before)
        with only_wheel() as wheel:
            modes = {i.filename: i.external_attr >> 16 & 0o777 for i in wheel.infolist()}
            made.append(Path(str(wheel.filename)).read_bytes())
    assert {m for name, m in modes.items() if not name.endswith("RECORD")} == {0o644}
    assert made[0] == made[1]
    with only_wheel() as wheel:
        document = json.loads(wheel.read("demo-1.0.dist-info/sboms/aot-build.cdx.json"))
    assert document["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"


def test_executable_files_stay_executable(driver, setup, project):
    tool = project / "demo" / "tool.sh"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o700)
    setup("bdist_wheel", package_data={"demo": ["tool.sh"]})
    with only_wheel() as wheel:
        assert wheel.getinfo("demo/tool.sh").external_attr >> 16 & 0o777 == 0o755


def test_binary_distribution_class_keeps_its_tag(driver, setup, monkeypatch):
    from setuptools import Distribution

    monkeypatch.setattr(Distribution, "has_ext_modules", lambda self: True)
    setup("bdist_wheel")
    with only_wheel() as wheel:
        assert "-cp3" in str(wheel.filename)
