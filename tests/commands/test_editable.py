"""Editable wheels, lenient and strict, as setuptools' own build backend makes them."""

import zipfile
from pathlib import Path

import pytest

from aot_build.layout import RUNTIME

pytestmark = pytest.mark.filterwarnings(
    "ignore::setuptools.SetuptoolsDeprecationWarning",
    "ignore:Editable installation:setuptools.warnings.InformationOnly",
)


def contents() -> list[str]:
    (path,) = Path("dist").glob("*.whl")
    assert "-py3-none-" in path.name and not path.name.endswith("-any.whl")
    with zipfile.ZipFile(path) as wheel:
        return wheel.namelist()


def test_lenient_puts_the_result_into_the_source_tree(driver, setup):
    setup("editable_wheel", "--dist-dir", "dist")
    assert Path("demo/_aot/manifest.json").is_file()
    assert Path("demo/_aot/scale/cpu/0a-scale.so").read_bytes() == b"\x7fELF scale"
    assert not Path("demo/_aot").is_symlink()
    assert driver.log == ["start", "wait", "stop"]
    assert [n for n in contents() if n.endswith(".pth")]


def test_strict_links_a_tree_and_leaves_the_sources_alone(driver, setup):
    setup("editable_wheel", "--mode", "strict", "--dist-dir", "dist")
    (tree,) = Path("build").glob("__editable__.*")
    assert (tree / "demo" / "__init__.py").is_symlink()
    blob = tree / "demo" / "_aot" / "scale" / "cpu" / "0a-scale.so"
    assert blob.read_bytes() == b"\x7fELF scale" and not blob.is_symlink()
    assert (tree / "demo" / "_aot" / "manifest.json").is_file()
    assert not Path("demo/_aot").exists()
    assert contents()


def test_strict_after_lenient_does_not_serve_the_old_result(driver, setup):
    setup("editable_wheel", "--dist-dir", "dist")
    driver.artifacts = {"scale/cpu/0b-scale.so": b"\x7fELF newer"}
    setup("editable_wheel", "--mode", "strict", "--dist-dir", "dist")
    (tree,) = Path("build").glob("__editable__.*")
    folder = tree / "demo" / "_aot" / "scale" / "cpu"
    assert [p.name for p in folder.iterdir()] == ["0b-scale.so"]


def test_lenient_maps_outputs_to_their_sources(driver, setup):
    dist = setup("editable_wheel", "--dist-dir", "dist")
    command = dist.get_command_obj("build_aot")
    mapping = command.get_output_mapping()
    names = [*RUNTIME, "manifest.json", "scale/cpu/0a-scale.so"]
    assert sorted(mapping.values()) == sorted(f"demo/_aot/{name}" for name in names)
    assert sorted(mapping) == sorted(command.get_outputs())
    assert all(output.startswith(command.build_lib) for output in mapping)


def test_without_kernels_the_source_tree_keeps_its_result(driver, setup, monkeypatch):
    setup("editable_wheel", "--dist-dir", "dist")
    monkeypatch.setenv("AOT_BUILD_TARGETS", "none")
    setup("editable_wheel", "--dist-dir", "dist")
    assert Path("demo/_aot/manifest.json").is_file()
    assert driver.log.count("start") == 1
