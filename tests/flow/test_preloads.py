"""What the workers of a second build find imported, and what that must not change."""

import json
import os

import pytest

pytestmark = pytest.mark.slow
ROWS = 24
FILES = {
    "pyproject.toml": (
        '[tool.aot-build]\npackage = "demo"\ntargets = ["cpu"]\njobs = 2\n\n'
        '[[tool.aot-build.kernels]]\nname = "table"\nbackend = "python"\n'
        f'source = "demo.generate:make"\nconfigs = [{{ n = {list(range(ROWS))} }}]\n'
    ),
    "demo/__init__.py": "",
    "demo/generate.py": """\
import os, sys, time
BEFORE = "packaging.version" in sys.modules
import packaging.version
from pathlib import Path

def make(out_dir, target, n):
    # Long enough for a trial to end while the first of the actions run.
    time.sleep(0.2)
    Path(out_dir, "found").write_text(f"{BEFORE} {os.getppid()}")
""",
}


@pytest.fixture
def project(new_project):
    """Kernels that import an installed package; it is imported by nothing else."""
    return new_project(files=FILES)


def found(project):
    """What each worker found: whether the package was imported before its entry was called."""
    words = [v.decode() for name, v in project.artifacts().items() if name.endswith("found")]
    assert len(words) == ROWS
    return [word.startswith("True") for word in words]


def traces(project, tmp_path):
    """The traces of all that was executed, as the cache holds them."""
    return sorted(p.read_bytes() for p in (tmp_path / "cache" / "traces-v2").rglob("*.t"))


def test_a_package_is_imported_once_for_all_actions_of_the_next_build(project, tmp_path):
    assert project.build()["executed"] == ROWS
    assert not any(found(project))
    project.edit("demo/generate.py", "0.2", "0.21")
    assert project.build()["executed"] == ROWS
    assert sum(found(project)) > ROWS // 2
    record = json.loads((tmp_path / "cache" / "preloads-v1" / "demo").read_text())
    assert record == {"kernels": {"table": ["packaging.version"]}, "refused": {}}


def test_another_checkout_with_the_same_cache_knows_it(project, new_project):
    project.build()
    clone = new_project("clone", files=FILES)
    clone.edit("demo/generate.py", "0.2", "0.21")
    clone.build()
    assert sum(found(clone)) > ROWS // 2


def test_a_damaged_record_is_none(project, tmp_path):
    project.build()
    (tmp_path / "cache" / "preloads-v1" / "demo").write_text("not json")
    project.edit("demo/generate.py", "0.2", "0.21")
    assert project.build()["executed"] == ROWS
    assert not any(found(project))


def test_a_trace_is_the_same_whoever_imported_the_package(project, tmp_path):
    project.build()
    cold = traces(project, tmp_path)
    project.edit("demo/generate.py", "Long", "So long")
    project.edit("demo/generate.py", "0.2", "0.21")
    project.build()
    assert sum(found(project)) > ROWS // 2
    # They go by their content: an equal one is the same file.
    assert cold and traces(project, tmp_path) == cold


# A package that reads the environment while it is imported

EAGER = """\
import os
VALUE = os.environ.get("EAGER_VALUE")
"""
READS = """\
import sys, time
BEFORE = "eager" in sys.modules
import eager
from pathlib import Path

def make(out_dir, target, n):
    time.sleep(0.2)
    Path(out_dir, "value").write_text(str(eager.VALUE))
    Path(out_dir, "found").write_text(str(BEFORE))
"""


@pytest.fixture
def eager(new_project, tmp_path):
    """One kernel says what the package reads, the other takes what there is."""
    site = tmp_path / "site-packages"
    table = FILES["pyproject.toml"].partition("[[tool")
    kernel = f"[[tool{table[2]}".replace('"table"', '"{}"')
    few = kernel.replace(str(list(range(ROWS))), "[1, 2]")
    declares = few.replace('"{}"', '"declares"') + 'env = { EAGER_VALUE = "declared" }\n'
    files = {
        "eager/__init__.py": EAGER,
        "eager-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: eager\nVersion: 1\n",
        "eager-1.dist-info/RECORD": "eager/__init__.py,,\neager-1.dist-info/METADATA,,\n",
    }
    for name, text in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    pyproject = table[0] + kernel.replace('"{}"', '"takes"') + declares
    project = new_project(files={**FILES, "pyproject.toml": pyproject, "demo/generate.py": READS})
    project.env["PYTHONPATH"] += os.pathsep + str(site)
    project.env["EAGER_VALUE"] = "outside"
    return project


def values(project):
    """What was built, by kernel: the values that the package had; whether it was preloaded."""
    manifest = json.loads((project.result / "manifest.json").read_text())
    read = {}
    for name, kernel in manifest["kernels"].items():
        texts = {"value": [], "found": []}
        for variant in kernel["variants"]:
            for file, entry in variant["files"].items():
                path = entry["path"] if isinstance(entry, dict) else entry
                texts[file].append((project.result / path).read_text())
        read[name] = texts
    return read


def test_an_action_never_finds_what_saw_another_environment(eager):
    eager.build()
    eager.edit("demo/generate.py", "0.2", "0.21")
    eager.build()
    found = values(eager)
    assert set(found["takes"]["value"]) == {"outside"}
    assert set(found["declares"]["value"]) == {"declared"}
    assert "True" in found["takes"]["found"], "preloaded for those that it is right for"
    assert "True" not in found["declares"]["found"]


def test_a_variable_that_was_read_while_preloading_is_an_input(eager):
    eager.build()
    eager.edit("demo/generate.py", "0.2", "0.21")
    eager.build()
    assert "True" in values(eager)["takes"]["found"]
    summary = eager.build(EAGER_VALUE="changed")
    assert "takes" in {miss["kernel"] for miss in summary["misses"]}
    assert set(values(eager)["takes"]["value"]) == {"changed"}


def test_a_module_of_the_project_goes_before_one_that_is_installed(eager):
    eager.build()
    eager.write({"eager.py": 'VALUE = "mine"\n'})
    eager.build()
    assert set(values(eager)["takes"]["value"]) == {"mine"}
