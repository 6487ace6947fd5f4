"""Published packages of Triton kernels, built ahead of time as they are on the index.

A second process launches their operations in the ordinary way, on a GPU that is not there: Triton
compiles nothing, and every launch runs a binary that was shipped.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from tests.flow.consumers import ROOT, copy

pytestmark = [pytest.mark.triton, pytest.mark.torch, pytest.mark.slow]

TARGETS = ("cuda:sm_90a", "hip:gfx942")
RELEASES = {"liger-kernel": "0.8.5", "fla-core": "0.6.0"}
OPERATE = """
import importlib, json, os, sys, warnings
warnings.simplefilter("ignore")
package, target, calls = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
from tests import stub_driver
gpu = stub_driver.plug_in(target)
_aot = importlib.import_module(package)._aot
launches = importlib.import_module(package + ".launches")
told = ""
for name, row in calls:
    try:
        getattr(launches, name)(**row)
    except _aot.KernelNotFound as error:
        told = str(error)
left = [name for _, _, names in os.walk(os.environ["TRITON_CACHE_DIR"]) for name in names]
print(json.dumps(
    {"compiles": gpu.compiles, "launches": gpu.launches, "told": told, "left": sorted(left)}
))
"""

Call = tuple[str, dict[str, Any]]


@dataclass
class Shipped:
    """A project built for both targets, and importable from `site`."""

    package: str
    site: Path
    summary: dict[str, Any]

    def digests(self, target: str) -> set[str]:
        """SHA-256 of each binary for a target."""
        manifest = json.loads((self.site / self.package / "_aot" / "manifest.json").read_text())
        return {
            file["sha256"]
            for kernel in manifest["kernels"].values()
            for variant in kernel["variants"]
            for file in variant["files"].values()
            if variant["target"] == target
        }

    def operate(self, target: str, *calls: Call, **env: str) -> dict[str, Any]:
        """Call functions of its `launches` module in a process of their own."""
        scratch = self.site / "triton-cache"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", OPERATE, self.package, target, json.dumps(calls)],
            env={
                **_clean(),
                "PYTHONPATH": f"{ROOT}{os.pathsep}{self.site}",
                "TRITON_CACHE_DIR": str(scratch),
                **env,
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def _clean() -> dict[str, str]:
    ours = ("AOT_", "TRITON_", "FLA_", "LIGER_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def ship(name: str, folder: Path) -> Shipped:
    """Build a project against what is installed here, and lay it out as its wheel would."""
    project = copy(name, folder)
    done = subprocess.run(
        [sys.executable, "-m", "aot_build", "build", "--json", "--project", str(project)],
        env={**_clean(), "PYTHONPATH": str(ROOT), "AOT_BUILD_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    site = folder / "site"
    shutil.copytree(project / name, site / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(project / "build" / "aot" / name / "_aot", site / name / "_aot")
    return Shipped(name, site, json.loads(done.stdout.splitlines()[-1]))


def _needs(name: str) -> None:
    try:
        found = version(name)
    except PackageNotFoundError:
        pytest.skip(f"needs {name}=={RELEASES[name]}")
    if found != RELEASES[name]:
        pytest.skip(f"needs {name}=={RELEASES[name]}, {found} is installed")


@pytest.fixture(scope="module")
def liger(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    _needs("liger-kernel")
    return ship("with_liger", tmp_path_factory.mktemp("liger"))


@pytest.fixture(scope="module")
def fla(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    _needs("fla-core")
    return ship("with_fla", tmp_path_factory.mktemp("fla"))


LIGER = {
    "rms_norm": (
        ["_rms_norm_forward_kernel", "_rms_norm_backward_kernel"],
        {"dtype": "bfloat16", "rows": 112, "columns": 1024},
    ),
    "swiglu": (
        ["_swiglu_forward_kernel", "_swiglu_backward_kernel"],
        {"dtype": "bfloat16", "rows": 5, "columns": 2816},
    ),
    "rope": (
        ["_triton_rope", "_triton_rope"],
        {"dtype": "bfloat16", "tokens": 128, "heads": 8, "kv_heads": 2, "width": 64},
    ),
    "cross_entropy": (
        ["liger_cross_entropy_kernel", "element_mul_kernel"],
        {"dtype": "bfloat16", "tokens": 32, "words": 4096},
    ),
}
"""Operation -> its kernels, and sizes that were not declared but specialise alike."""


@pytest.mark.parametrize("mode", ["", "strict"])
@pytest.mark.parametrize("target", TARGETS)
def test_liger_launches_what_was_shipped(liger: Shipped, target: str, mode: str) -> None:
    calls = [(name, row) for name, (_, row) in LIGER.items()]
    seen = liger.operate(target, *calls, AOT_RUNTIME=mode)
    kernels = [kernel for each, _ in LIGER.values() for kernel in each]
    assert [name for name, _ in seen["launches"]] == kernels
    assert (seen["compiles"], seen["left"], seen["told"]) == ([], [], "")
    assert {digest for _, digest in seen["launches"]} <= liger.digests(target)


@pytest.mark.parametrize("target", TARGETS)
def test_liger_compiles_to_what_was_shipped(liger: Shipped, target: str) -> None:
    """The captured specialisation is that of the ordinary launch: Triton makes the same bytes."""
    calls = [(name, row) for name, (_, row) in LIGER.items()]
    by_triton = {"ALWAYS_COMPILE": "1", "DISABLE_LINE_INFO": "1", "DEFAULT_FP_FUSION": "1"}
    seen = liger.operate(target, *calls, **{f"TRITON_{n}": v for n, v in by_triton.items()})
    assert set(seen["compiles"]) == {kernel for each, _ in LIGER.values() for kernel in each}
    assert {digest for _, digest in seen["launches"]} <= liger.digests(target)
    if target.startswith("cuda"):
        (ptx,) = (liger.site / "triton-cache").glob("*/_rms_norm_forward_kernel.ptx")
        # 16 bytes at a time: a row of 1,024 elements of x and of the weight, and one of y.
        assert ptx.read_text().count("v4.b32") == 3


def test_launch_that_was_not_shipped_is_compiled(liger: Shipped) -> None:
    other: Call = ("swiglu", {"dtype": "float32", "rows": 4, "columns": 1000})
    seen = liger.operate("cuda:sm_90a", other)
    assert seen["compiles"] == LIGER["swiglu"][0]
    assert len(seen["launches"]) == 2 and seen["left"] != []


def test_launch_that_was_not_shipped_is_an_error_in_strict_mode(liger: Shipped) -> None:
    other: Call = ("swiglu", {"dtype": "float32", "rows": 4, "columns": 1000})
    seen = liger.operate("cuda:sm_90a", other, AOT_RUNTIME="strict")
    assert (seen["compiles"], seen["launches"]) == ([], [])
    assert "_swiglu_forward_kernel" in seen["told"]


@pytest.mark.parametrize("target", TARGETS)
def test_fla_launches_what_was_shipped(fla: Shipped, target: str) -> None:
    call: Call = (
        "gated_delta_rule", {"dtype": "bfloat16", "tokens": 192, "heads": 2, "width": 64}
    )  # fmt: skip
    seen = fla.operate(target, call, call)
    assert seen["compiles"] == []
    assert {digest for _, digest in seen["launches"]} <= fla.digests(target)
    assert len({name for name, _ in seen["launches"]}) == 11
    # Triton keeps the outcome of autotuning there, and nothing else is left.
    assert all(name.endswith(".autotune.json") for name in seen["left"]), seen["left"]


@pytest.mark.parametrize("shipped", ["liger", "fla"])
def test_second_build_elsewhere_compiles_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, shipped: str
) -> None:
    first: Shipped = request.getfixturevalue(shipped)
    (tmp_path / "cache").symlink_to(first.site.parent / "cache")
    again = ship(first.package, tmp_path)
    assert first.summary["executed"] > 0
    assert again.summary["misses"] == []
    assert (again.summary["executed"], again.summary["hits"]) == (0, first.summary["executed"])
    assert [again.digests(t) for t in TARGETS] == [first.digests(t) for t in TARGETS]
