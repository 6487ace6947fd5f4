"""A project on disk, and backends that declare keys as real ones do."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aot_build.core.target import Target
from aot_build.settings import Settings, load


class Cpp(msgspec.Struct, rename="kebab", forbid_unknown_fields=True):
    standard: str = "c++17"
    openmp: bool = False


class Triton(msgspec.Struct, rename="kebab", forbid_unknown_fields=True):
    signature: dict[str, str] = {}
    enable_fp_fusion: bool = True


class Python(msgspec.Struct, rename="kebab", forbid_unknown_fields=True):
    outputs: list[str] = []


BACKENDS: dict[str, type[msgspec.Struct]] = {"cpp": Cpp, "triton": Triton, "python": Python}
KINDS = {"cpp": {"cpu"}, "triton": {"cuda", "hip"}, "python": {"cpu", "cuda", "hip"}}


def serves(backend: str, target: Target) -> bool:
    return target.kind in KINDS[backend]


class Project:
    """`write` a pyproject.toml, then `load` it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "demo").mkdir(parents=True)

    def write(self, table: str, head: str = '[project]\nname = "demo"\n') -> "Project":
        text = f"{head}[tool.aot-build]\n{table}"
        (self.folder / "pyproject.toml").write_text(text, encoding="utf-8")
        return self

    def load(
        self,
        *,
        env: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        line: Mapping[str, object] | None = None,
    ) -> Settings:
        settings = load(
            self.folder,
            backends=BACKENDS,
            serves=serves,
            env=env or {},
            config_settings=config,
            command_line=line,
        )
        assert settings is not None
        return settings


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "checkout")


@pytest.fixture
def loader() -> Callable[[Path], Settings | None]:
    return lambda folder: load(folder, backends=BACKENDS, serves=serves, env={})
