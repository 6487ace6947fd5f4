"""What is learned of a kernel's imports, and which of them the next build asks for."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from aot_build.core.work import WorkReport
from aot_build.preloads import MOST_MODULES, Preloads
from aot_build.toolchains.distributions import Distributions

Open = Callable[[], Preloads]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Each call is another build of one project."""
    site = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(str(site))
    for name in ("normal", "editable", "unrecorded"):
        install(site, name)
    (site / "unrecorded-1.dist-info" / "RECORD").unlink()
    (site / "editable-1.dist-info" / "direct_url.json").write_text(
        '{"url": "file:///somewhere", "dir_info": {"editable": true}}'
    )
    (tmp_path / "project").mkdir()

    def build() -> Preloads:
        distributions = Distributions(lambda path: None)
        return Preloads(tmp_path / "cache", "demo", distributions, [tmp_path / "project"])

    return build


def install(site: Path, name: str, version: str = "1") -> None:
    info = site / f"{name}-1.dist-info"
    for folder in (site / name, info):
        folder.mkdir(parents=True, exist_ok=True)
    (site / name / "__init__.py").touch()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"{name}/__init__.py,,\n")


def learn(build: Open, *modules: str, refused: dict[str, str] | None = None) -> None:
    preloads = build()
    preloads.wanted(["table"] * 2)
    preloads.learn("table", WorkReport(imports=modules))
    preloads.save(["table"], refused or {})


def test_only_what_an_installer_put_there(opened: Open, tmp_path: Path) -> None:
    modules = (
        "normal",
        "normal.part",
        "editable",
        "unrecorded",
        "nowhere",
        "colorsys",
        "aot_build",
    )
    learn(opened, *modules)
    assert opened().wanted(["table"] * 2) == ["normal", "normal.part"]
    (tmp_path / "project" / "normal.py").touch()
    assert opened().wanted(["table"] * 2) == []


def test_nothing_learned_leaves_no_record(opened: Open, tmp_path: Path) -> None:
    learn(opened)
    assert not (tmp_path / "cache").exists()
    learn(opened, "normal")
    learn(opened)
    assert opened().wanted(["table"] * 2) == [], "it imports nothing any more"


def test_one_action_alone_gains_nothing(opened: Open) -> None:
    learn(opened, "normal")
    preloads = opened()
    assert preloads.wanted(["table", "another"]) == []
    assert preloads.wanted(["table", "table"]) == ["normal"]
    assert preloads.wanted(["table", "table"]) == [], "given already"


def test_the_most_used_come_first(opened: Open) -> None:
    preloads = opened()
    preloads.learn("few", WorkReport(imports=("normal.a", "normal.b")))
    preloads.learn("many", WorkReport(imports=("normal.b", "normal.c")))
    preloads.save(["few", "many"], {})
    wanted = opened().wanted(["few"] * 2 + ["many"] * 3)
    assert wanted == ["normal.b", "normal.c", "normal.a"]


def test_what_a_kernel_no_longer_imports_is_forgotten(opened: Open) -> None:
    learn(opened, "normal.a")
    learn(opened, "normal.b")
    assert opened().wanted(["table"] * 2) == ["normal.b"]
    opened().save(["another"], {})
    assert opened().wanted(["table"] * 2) == []


def test_a_build_that_ran_nothing_forgets_nothing(opened: Open) -> None:
    learn(opened, "normal.a")
    opened().save(["table"], {})
    assert opened().wanted(["table"] * 2) == ["normal.a"]


def test_what_was_refused_is_tried_again_with_another_version(opened: Open, tmp_path: Path) -> None:
    learn(opened, "normal", "normal.part")
    learn(opened, "normal", "normal.part", refused={"normal": "asks torch.cuda.is_available"})
    assert opened().wanted(["table"] * 2) == ["normal.part"]
    install(tmp_path / "site-packages", "normal", "2")
    assert opened().wanted(["table"] * 2) == ["normal", "normal.part"]


@pytest.mark.parametrize(
    "content",
    ["", "not json", "[]", '{"kernels": {"table": "normal"}}', '{"kernels": {}, "more": 1}'],
)
def test_a_damaged_record_is_none(opened: Open, tmp_path: Path, content: str) -> None:
    learn(opened, "normal")
    (tmp_path / "cache" / "preloads-v1" / "demo").write_text(content)
    assert opened().wanted(["table"] * 2) == []
    learn(opened, "normal")
    assert opened().wanted(["table"] * 2) == ["normal"]


def test_a_record_of_somebody_elses_names_modules_alone(opened: Open, tmp_path: Path) -> None:
    names = [
        "normal; import os",
        "../normal",
        "",
        "normal.ok",
        *(f"normal.m{n}" for n in range(999)),
    ]
    learn(opened, "normal")
    record = {"kernels": {"table": names}, "refused": {}}
    (tmp_path / "cache" / "preloads-v1" / "demo").write_text(json.dumps(record))
    wanted = opened().wanted(["table"] * 2)
    assert wanted[0] == "normal.ok" and len(wanted) == MOST_MODULES
