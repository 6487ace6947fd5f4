"""Files of one name, where names alone count at run time."""

import hashlib

import pytest

from aot_build.core.artifact import Artifact
from aot_build.core.kernel import KernelSpec, Variant
from aot_build.core.manifest import Entry, clashes, manifest
from aot_build.core.target import parse_target
from aot_build.core.toolchain import Toolchain


def entry(kernel: str, target: str, backend: str = "flydsl", **files: str) -> Entry:
    found = parse_target(target)
    spec = KernelSpec(kernel, backend, ("demo.kern:f",), (found,))
    artifacts = tuple(
        Artifact(f"{name}.pkl", hashlib.sha256(text.encode()).hexdigest(), len(text))
        for name, text in files.items()
    )
    return Entry(Variant(spec, (), found), Toolchain("t", "1", "d" * 32), artifacts)


def test_equal_files_of_one_name_ship_with_each_variant():
    entries = [entry("a", "hip:gfx942", x="1"), entry("b", "hip:gfx950", x="1", y="2")]
    assert clashes(entries) == []
    made = manifest("demo", "release", "test", entries)["kernels"]
    paths = {f["path"] for k in made.values() for v in k["variants"] for f in v["files"].values()}
    assert len(paths) == 3


@pytest.mark.parametrize("turn", [1, -1])
def test_different_files_of_one_name_are_told_with_both_variants(turn):
    first = entry("a", "hip:gfx942", x="1", y="1")
    across = entry("a", "hip:gfx950", x="2", y="2")
    other = entry("b", "hip:gfx942", z="3", y="4")
    found = clashes([first, across, other][::turn])
    assert found == [(first, across, "x.pkl"), (first, other, "y.pkl")]


def test_files_that_lie_in_folders_of_their_own_may_share_names():
    entries = [entry("a", "cpu", "python", x="1"), entry("b", "cpu", "python", x="2")]
    assert clashes([*entries, entry("c", "hip:gfx942", x="3")]) == []
