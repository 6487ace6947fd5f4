"""The PEP 517 backend: what it keeps, what it hands on."""

import sys
from pathlib import Path

import pytest
from setuptools import build_meta as setuptools_backend

from aot_build import build_meta
from aot_build.commands.asked import asking, config_settings

pytestmark = pytest.mark.filterwarnings("ignore::setuptools.SetuptoolsDeprecationWarning")

HOOKS = (
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
)


def test_every_hook_of_setuptools_is_there():
    assert sorted(build_meta.__all__) == sorted(HOOKS)
    assert set(HOOKS) <= set(setuptools_backend.__all__)


@pytest.mark.parametrize(
    ("given", "ours", "theirs"),
    [
        (None, {}, {}),
        ({"aot.mode": "fast"}, {"aot.mode": "fast"}, {}),
        ({"aot.targets": ["cpu", "cuda:sm_90a"]}, {"aot.targets": ["cpu", "cuda:sm_90a"]}, {}),
        ({"aot.strict": None, "quiet": None}, {"aot.strict": "true"}, {"quiet": None}),
        ({"aotx": "1", "--build-option": ["-q"]}, {}, {"aotx": "1", "--build-option": ["-q"]}),
    ],
)
def test_settings_are_split_by_prefix(given, ours, theirs):
    assert build_meta.split(given) == (ours, theirs)


def test_settings_last_as_long_as_the_hook():
    with asking({"aot.mode": "fast"}):
        assert config_settings() == {"aot.mode": "fast"}
    assert config_settings() == {}


def test_wheel_is_built_with_the_settings(driver, project, monkeypatch):
    (project / "setup.py").write_text(
        "from aot_build.commands import hook\n"
        "from setuptools import Distribution, setup\n"
        "class Plugged(Distribution):\n"
        "    def finalize_options(self):\n"
        "        hook.finalize(self)\n"
        "        super().finalize_options()\n"
        "setup(distclass=Plugged)\n"
    )
    monkeypatch.setattr(sys, "argv", ["backend"])
    settings = {"aot.mode": "fast", "--build-option": "--plat-name manylinux_2_28_x86_64"}
    name = build_meta.build_wheel(str(project / "out"), settings)
    assert name == "demo-1.0-py3-none-manylinux_2_28_x86_64.whl"
    assert (project / "out" / name).is_file()
    assert driver.asked[0]["config_settings"] == {"aot.mode": "fast"}
    # A process that merely calls the backend is nobody's hook: its parent may well go first.
    assert driver.asked[0]["front_end"] == 0


def test_settings_can_switch_kernels_off(driver, project, monkeypatch):
    (project / "setup.py").write_text(Path(__file__).parents[2].joinpath("setup.py").read_text())
    monkeypatch.setattr(sys, "argv", ["backend"])
    name = build_meta.build_wheel(str(project / "out"), {"aot.targets": "none"})
    assert name == "demo-1.0-py3-none-any.whl"
    assert driver.asked == []
