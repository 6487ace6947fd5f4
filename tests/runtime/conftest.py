"""A package with shipped kernels, as a wheel lays it out."""

import hashlib
import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aot_build.core.artifact import Artifact
from aot_build.core.kernel import KernelSpec, Value, Variant
from aot_build.core.manifest import Entry, manifest, manifest_text, place
from aot_build.core.target import Target, parse_target
from aot_build.core.toolchain import Toolchain
from tests.runtime.packages import HERE, INSTALL, Package, lay_out

Row = dict[str, Value]
Shipped = tuple[Any, ...]
"""Kernel, target, row, relative file name -> content; and metadata, where a test is about it."""


def entry(
    backend: str,
    kernel: str,
    target: str,
    row: Row,
    files: dict[str, bytes],
    metadata: dict[str, Any] | None = None,
) -> Entry:
    found: Target = parse_target(target)
    spec = KernelSpec(kernel, backend, (f"{kernel}.cpp",), (found,))
    artifacts = tuple(
        Artifact(name, hashlib.sha256(content).hexdigest(), len(content))
        for name, content in files.items()
    )
    variant = Variant(spec, tuple(sorted(row.items())), found)
    toolchain = Toolchain("g++", "12", "d" * 32)
    return Entry(variant, toolchain, artifacts, metadata or {"symbol": kernel})


@pytest.fixture
def ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModuleType]]:
    """Write a package that ships the given variants, and import its runtime."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(*shipped: Shipped, backend: str = "cpp") -> ModuleType:
        root = tmp_path / "shipping" / "_aot"
        root.parent.mkdir()
        (root.parent / "__init__.py").touch()
        lay_out(root)
        entries = [entry(backend, *each) for each in shipped]
        for each, (_, _, _, files, *_) in zip(entries, shipped, strict=True):
            for name, path in place(each.variant, each.artifacts).items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(files[name])
        text = manifest_text(manifest("shipping", "release", "test", entries))
        (root / "manifest.json").write_text(text)
        return importlib.import_module("shipping._aot")

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] == "shipping"]:
        del sys.modules[name]


@pytest.fixture
def aot(ship: Callable[..., ModuleType]) -> Any:
    """One kernel of one file, one of several, and one for GPUs."""
    return ship(
        ("scale", "cpu", {"T": "float", "BLOCK": 64}, {"scale.so": b"64"}),
        ("scale", "cpu", {"T": "float", "BLOCK": 128}, {"scale.so": b"128"}),
        ("scale", "cpu:x86-64-v3", {"T": "float", "BLOCK": 128}, {"scale.so": b"128v3"}),
        ("many", "cpu", {"SHAPE": (8, (1, 2))}, {"a.bin": b"a", "sub/b.bin": b"b"}),
        ("gemm", "cuda:sm_80", {"BM": 128}, {"gemm.cubin": b"80"}),
        ("gemm", "cuda:sm_90a", {"BM": 128}, {"gemm.cubin": b"90a"}),
        ("gemm", "hip:gfx942", {"BM": 128}, {"gemm.hsaco": b"942"}),
    )


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Compiled once; nobody writes into it."""
    made = Package(tmp_path_factory.mktemp("built"))
    lay_out(made.aot)
    shutil.copy(HERE / "kernels_to_ship.py", made.aot.parent / "kern.py")
    (made.aot.parent / "__init__.py").touch()
    made.python(str(HERE / "ship_triton.py"), str(made.aot))
    (made.aot.parent / "__init__.py").write_text(INSTALL)
    return made


@pytest.fixture
def package(built: Package, tmp_path: Path) -> Package:
    return built.copy(tmp_path)
