"""Wheels that ship FlyDSL entries: their tag, what they require, and who else says so."""

import json
import sys
import zipfile
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from setuptools import Extension
from setuptools import build_meta as setuptools_backend
from setuptools.command.build_ext import build_ext

from aot_build import build_meta

pytestmark = pytest.mark.filterwarnings(
    "ignore::setuptools.SetuptoolsDeprecationWarning",
    "ignore:Editable installation:Warning",
)
CP = f"cp{sys.version_info[0]}{sys.version_info[1]}"
PIN = "flydsl==9.9"
PLUGGED = """
from aot_build.commands import hook
from setuptools import Distribution, setup
class Plugged(Distribution):
    def finalize_options(self):
        hook.finalize(self)
        super().finalize_options()
setup(distclass=Plugged)
"""


class WritesFiles(build_ext):
    """Leaves an extension without needing a compiler."""

    def build_extension(self, ext: Extension) -> None:
        path = Path(self.get_ext_fullpath(ext.name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x7fELF extension")


@pytest.fixture(autouse=True)
def installed(tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """flydsl 9.9, of which there is nothing but its metadata."""
    site = tmp_path_factory.mktemp("site")
    (site / "flydsl-9.9.dist-info").mkdir()
    text = "Metadata-Version: 2.1\nName: flydsl\nVersion: 9.9\n"
    (site / "flydsl-9.9.dist-info" / "METADATA").write_text(text)
    monkeypatch.syspath_prepend(str(site))


@pytest.fixture
def driver(project: Path, driver: Any) -> Any:
    """A build of one FlyDSL kernel, which leaves one entry; and of the C++ one."""
    text = (project / "pyproject.toml").read_text().replace('["cpu"]', '["cpu", "hip:gfx942"]')
    kernel = '\n[[tool.aot-build.kernels]]\nname = "norm"\nbackend = "flydsl"\n'
    (project / "pyproject.toml").write_text(text + kernel + 'source = "demo.kern:norm"\n')
    (project / "setup.py").write_text(PLUGGED)
    driver.artifacts["norm/hip-gfx942/0b-0123.pkl"] = b"entry"
    driver.edits += [as_flydsl] * 4
    return driver


def as_flydsl(result: Path, version: str = "9.9") -> None:
    path = result / "manifest.json"
    manifest = json.loads(path.read_text())
    scale = manifest["kernels"]["scale"]
    entry = scale["variants"].pop()
    entry |= {"target": "hip:gfx942", "toolchain": "8d"}
    entry["metadata"] = {"flydsl": {"version": version, "python": CP}}
    manifest["kernels"]["norm"] = {"backend": "flydsl", "variants": [entry]}
    manifest["toolchains"]["8d"] = {"name": "flydsl", "version": version}
    path.write_text(json.dumps(manifest))


def edit(project: Path, change: Callable[[str], str]) -> None:
    path = project / "pyproject.toml"
    path.write_text(change(path.read_text()))


def depending(project: Path, *dependencies: str) -> None:
    line = f'version = "1.0"\ndependencies = {json.dumps(dependencies)}'
    edit(project, lambda text: text.replace('version = "1.0"', line))


def only_wheel(folder: Path = Path("dist")) -> zipfile.ZipFile:
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def required(text: bytes) -> list[str]:
    return message_from_bytes(text).get_all("Requires-Dist", [])


def metadata(wheel: zipfile.ZipFile) -> bytes:
    return wheel.read("demo-1.0.dist-info/METADATA")


def test_wheel_is_for_one_interpreter_and_one_flydsl(driver, setup):
    setup("bdist_wheel")
    with only_wheel() as wheel:
        assert f"demo-1.0-{CP}-{CP}-linux" in str(wheel.filename)
        assert required(metadata(wheel)) == [PIN]
        bom = json.loads(wheel.read("demo-1.0.dist-info/sboms/aot-build.cdx.json"))
    tools = {(c["name"], c["version"]) for c in bom["components"] if c["type"] == "application"}
    assert tools == {("g++", "12.2.0"), ("flydsl", "9.9")}
    needed = [c for c in bom["components"] if c["type"] == "library"]
    assert [(c["purl"], c["scope"]) for c in needed] == [("pkg:pypi/flydsl@9.9", "required")]
    assert "pkg:pypi/flydsl@9.9" in bom["dependencies"][0]["dependsOn"]


def test_dependencies_of_the_project_stay(driver, setup, project):
    depending(project, "FlyDSL>=9", "six")
    setup("bdist_wheel")
    with only_wheel() as wheel:
        assert required(metadata(wheel)) == ["FlyDSL>=9", "six", PIN]


def test_a_dependency_that_rules_it_out_fails_the_wheel(driver, project, tmp_path):
    depending(project, "flydsl<9")
    (tmp_path / "metadata").mkdir()
    with pytest.raises(SystemExit, match="rule out the flydsl that its kernels are built by"):
        setuptools_backend.prepare_metadata_for_build_wheel(str(tmp_path / "metadata"))
    with pytest.raises(SystemExit, match="rule out the flydsl that its kernels are built by"):
        setuptools_backend.build_wheel(str(tmp_path))


@pytest.mark.parametrize("targets", ["none", "cpu"])
def test_without_a_target_for_it_nothing_is_required(driver, setup, monkeypatch, targets):
    monkeypatch.setenv("AOT_BUILD_TARGETS", targets)
    driver.edits.clear()
    setup("bdist_wheel")
    with only_wheel() as wheel:
        assert "demo-1.0-py3-none-" in str(wheel.filename)
        assert required(metadata(wheel)) == []


@pytest.mark.parametrize("backend", [setuptools_backend, build_meta])
@pytest.mark.parametrize("targets", ["hip:gfx942", "cpu"])
@pytest.mark.parametrize("given", [True, False])
def test_prepared_metadata_are_those_of_the_wheel(
    driver, tmp_path, backend, targets, given, monkeypatch
):
    monkeypatch.setenv("AOT_BUILD_TARGETS", targets)
    if targets == "cpu":
        driver.edits.clear()
    for name in ("prepared", "wheel"):
        (tmp_path / name).mkdir()
    name = backend.prepare_metadata_for_build_wheel(str(tmp_path / "prepared"))
    prepared = (tmp_path / "prepared" / name / "METADATA").read_bytes()
    assert required(prepared) == ([PIN] if targets == "hip:gfx942" else [])
    assert driver.log == []
    folder = str(tmp_path / "prepared" / name) if given else None
    backend.build_wheel(str(tmp_path / "wheel"), None, folder)
    with only_wheel(tmp_path / "wheel") as wheel:
        assert metadata(wheel) == prepared


def test_metadata_prepared_beside_another_flydsl_are_refused(driver, tmp_path):
    driver.edits[:] = [lambda result: as_flydsl(result, "9.8")]
    (tmp_path / "prepared").mkdir()
    name = setuptools_backend.prepare_metadata_for_build_wheel(str(tmp_path / "prepared"))
    with pytest.raises(SystemExit, match=r"(?s)built by: flydsl 9\.8.*required: ==9\.9"):
        setuptools_backend.build_wheel(str(tmp_path), None, str(tmp_path / "prepared" / name))


def test_sdist_requires_nothing(driver, setup):
    setup("sdist")
    import tarfile

    with tarfile.open("dist/demo-1.0.tar.gz") as archive:
        for name in ("demo-1.0/PKG-INFO", "demo-1.0/demo.egg-info/PKG-INFO"):
            if name in archive.getnames():
                assert required(archive.extractfile(name).read()) == []  # type: ignore[union-attr]


@pytest.mark.parametrize("backend", [setuptools_backend, build_meta])
def test_editable_wheel_requires_it_too(driver, tmp_path, backend):
    (tmp_path / "out").mkdir()
    backend.build_editable(str(tmp_path / "out"))
    with only_wheel(tmp_path / "out") as wheel:
        assert required(metadata(wheel)) == [PIN]
        assert f"-{CP}-{CP}-linux" in str(wheel.filename)
        assert f"Tag: {CP}-{CP}-linux" in wheel.read("demo-1.0.dist-info/WHEEL").decode()


@pytest.mark.parametrize("extensions", [True, False])
def test_limited_api_of_an_extension_does_not_widen_the_tag(driver, setup, extensions):
    modules = [Extension("demo.x", ["demo/x.c"], py_limited_api=True)]
    setup(
        "bdist_wheel",
        "--py-limited-api=cp311",
        cmdclass={"build_ext": WritesFiles},
        ext_modules=modules if extensions else [],
    )
    with only_wheel() as wheel:
        assert f"-{CP}-{CP}-linux" in str(wheel.filename)
        assert f"Tag: {CP}-{CP}-linux" in wheel.read("demo-1.0.dist-info/WHEEL").decode()
