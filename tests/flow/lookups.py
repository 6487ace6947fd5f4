"""What `verify --runtime` says of a project, as its rows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.flow.conftest import Project


def looked_up(project: Project, *words: str, status: int = 0, **env: str) -> list[dict[str, Any]]:
    ended = project.command("verify", "--runtime", "--json", *words, **env)
    assert ended.returncode == status, ended.stderr + ended.stdout
    rows: list[dict[str, Any]] = json.loads(ended.stdout)
    return rows


def verdicts(rows: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    return {(row["kernel"], row["variant"]): row["verdict"] for row in rows}


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    found = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in found}


def change_manifest(project: Project, change: Callable[[dict[str, Any]], object]) -> None:
    path = project.result / "manifest.json"
    found = json.loads(path.read_bytes())
    change(found["kernels"])
    path.write_text(json.dumps(found))


def row_of(project: Project, path: Path) -> str:
    found = json.loads((project.result / "manifest.json").read_bytes())
    name = path.relative_to(project.result).as_posix()
    return next(
        json.dumps(variant["row"])
        for kernel in found["kernels"].values()
        for variant in kernel["variants"]
        for file in variant["files"].values()
        if file["path"] == name
    )
