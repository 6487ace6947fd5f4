"""A project on disk, and fresh eyes on it: what a build sees that starts now."""

from pathlib import Path

import pytest

from aot_build.core.roles import Roles
from aot_build.files import StatIndex
from aot_build.graph.closure import ClosureReader


class Project:
    """`env` and `installed` are what the next reader finds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env: dict[str, str] = {}
        self.installed: dict[str, str] = {}

    def write(self, name: str, content: str | bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def reader(self) -> ClosureReader:
        """As a new build has it."""

        def identity(name: str, used: tuple[str, ...]) -> str:
            return self.installed.get(name, "absent")

        return ClosureReader(
            Roles({"project": str(self.folder)}), StatIndex(), identity, dict(self.env)
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "checkout").mkdir()
    return Project(tmp_path / "checkout")
