"""Backends by name."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from aot_build.backends.registry import BUILT_IN, Registry
from aot_build.core.target import Target
from aot_build.errors import InputError


@pytest.mark.parametrize("name", BUILT_IN)
def test_each_built_in_backend_is_one(name: str) -> None:
    backend = Registry().get(name)
    assert backend.name == name
    assert isinstance(msgspec.convert({}, backend.options), msgspec.Struct), "all have defaults"
    assert Registry().options()[name] is backend.options


def test_an_unknown_backend_names_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        Registry().get("pyhton")
    assert caught.value.hint == "did you mean 'python'?"


def test_who_serves_what() -> None:
    registry = Registry()
    assert registry.serves("cpp", Target("cpu", "x86-64-v3"))
    assert not registry.serves("cpp", Target("cuda", "sm_90"))
    assert registry.serves("python", Target("hip", "gfx942"))


def test_another_package_adds_backends(tmp_path: Path, fresh_python: Callable[..., str]) -> None:
    folder = tmp_path / "extra-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[aot_build.backends]\nmine = extra_backend:BACKEND\nbroken = no_such_module:BACKEND\n"
        "hollow = extra_backend:GONE\ncpp = extra_backend:BACKEND\n"
    )
    (tmp_path / "extra_backend.py").write_text("BACKEND = 'mine'\n")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from aot_build.backends.registry import Registry\n"
        "from aot_build.errors import EnvironmentProblem\n"
        "r = Registry()\nassert {'mine', 'cpp', 'python'} <= set(r.names()), r.names()\n"
        "assert r.get('mine') == 'mine' and r.get('cpp').name == 'cpp'\n"
        "for name in ('broken', 'hollow'):\n"
        "    try: r.get(name)\n    except EnvironmentProblem as e: print(e.message, '|', e.hint)\n"
    )
    assert fresh_python(script, tmp_path).splitlines() == [
        "backend 'broken' does not load | reinstall the package that provides 'no_such_module'",
        "backend 'hollow' does not load | reinstall the package that provides 'extra_backend'",
    ]
