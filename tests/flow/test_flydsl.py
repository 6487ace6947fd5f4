"""FlyDSL kernels, compiled by the real FlyDSL: what ships, what is shared, what fails."""

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flow.conftest import Project

pytestmark = [pytest.mark.flydsl, pytest.mark.torch, pytest.mark.slow]

KERN = (Path(__file__).parents[1] / "backends" / "flydsl" / "kern.py").read_text()
HEAD = '[tool.aot-build]\npackage = "demo"\ntargets = ["hip:gfx942"]\nretries = 0\n'
BOTH = HEAD.replace('"hip:gfx942"', '"hip:gfx942", "hip:gfx950"')
KERNEL = """
[[tool.aot-build.kernels]]
name = "{name}"
backend = "flydsl"
source = "demo.kern:{source}"
{more}
"""
COPY = KERNEL.format(name="copy", source="compile_copy", more="configs = [{ n = 3 }]")
FILES = {"pyproject.toml": HEAD + COPY, "demo/__init__.py": "", "demo/kern.py": KERN}
MANY = COPY.replace("[{ n = 3 }]", '[{ n = 3 }, { n = 1, function = "erf" }]')
FIND = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
from demo.kern import SCALE, SIZE, copy
copy(torch.zeros(SIZE), torch.zeros(SIZE), SCALE * int(sys.argv[2]), sys.argv[3])
print(copy.cache_info().hits)
"""
OLD = "0.3.1"


def entries(project: Project) -> dict[str, bytes]:
    """Name of each entry as FlyDSL calls it -> its bytes."""
    manifest = json.loads((project.result / "manifest.json").read_text())
    return {
        name: (project.result / file["path"]).read_bytes()
        for kernel in manifest["kernels"].values()
        for variant in kernel["variants"]
        for name, file in variant["files"].items()
    }


@pytest.fixture(scope="session")
def old_flydsl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to put first on the path."""
    folder = tmp_path_factory.mktemp("old") / "site-packages"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile"]
    done = subprocess.run(
        [*pip, "--target", str(folder), f"flydsl=={OLD}"], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"flydsl {OLD} cannot be had: {done.stderr[-200:]}")
    return folder


@pytest.fixture(params=["", pytest.param(OLD, marks=pytest.mark.network)], ids=["here", OLD])
def series(request: pytest.FixtureRequest) -> str:
    """What goes first on the path: nothing, or an older FlyDSL."""
    if request.param:
        return f"{request.getfixturevalue('old_flydsl')}{os.pathsep}"
    return ""


def of_series(project: Project, series: str) -> Project:
    project.env["PYTHONPATH"] = series + project.env["PYTHONPATH"]
    return project


def test_any_checkout_makes_the_same(new_project: Callable[..., Project], series: str) -> None:
    files = {**FILES, "pyproject.toml": BOTH + MANY}
    one = of_series(new_project("one", files), series)
    asked = one.path.parent / "bin" / "rocm_agent_enumerator"
    asked.parent.mkdir()
    asked.write_text(f"#!/bin/sh\necho gfx90a; touch {one.path}/asked\n")
    asked.chmod(0o755)
    path = f"{asked.parent}{os.pathsep}{os.environ['PATH']}"
    assert one.build(PATH=path)["executed"] == 4
    assert not (one.path / "asked").exists(), "it was asked which GPU there is"
    assert one.build()["executed"] == 0
    other = of_series(new_project("some/other, longer", files), series)
    assert other.build()["executed"] == 0
    other.env |= {
        "AOT_BUILD_CACHE_DIR": str(other.path / "own"),
        "PYTHONHASHSEED": "7",
        "AOT_BUILD_JOBS": "1",
    }
    assert other.build()["executed"] == 4
    found = entries(one)
    assert len(found) == 4 and found == entries(other)
    assert not any(str(one.path.parent).encode() in content for content in found.values())
    assert one.artifacts() == other.artifacts()
    manifest = json.loads((one.result / "manifest.json").read_text())
    told = manifest["kernels"]["copy"]["variants"][0]["metadata"]["flydsl"]
    version = manifest["toolchains"].popitem()[1]["version"]
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert told == {"version": version, "python": tag}
    assert version == OLD or not series
    looked_up(one)


def looked_up(project: Project) -> None:
    """What ships is what FlyDSL itself looks up, by sources of its own that it digests afresh."""
    cache = project.path / "entries"
    for name, content in entries(project).items():
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_bytes(content)
    env = {n: v for n, v in project.env.items() if not n.startswith(("FLYDSL_", "ARCH"))}
    env |= {"FLYDSL_RUNTIME_CACHE_DIR": str(cache), "COMPILE_ONLY": "1"}
    for arch, n, function in (("gfx942", "3", ""), ("gfx950", "1", "erf")):
        said = subprocess.run(
            [sys.executable, "-c", FIND, str(project.path), n, function],
            env={**env, "FLYDSL_RUNTIME_RUN_ONLY": "1", "FLYDSL_GPU_ARCH": arch},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert said.stdout.split() == ["1"], said.stderr


def test_what_is_built_again(new_project: Callable[..., Project]) -> None:
    project = new_project("one", FILES)
    assert project.build()["executed"] == 1
    before = entries(project)
    # FlyDSL reads the source, and names the entry by that of the functions which it reaches.
    project.edit("demo/kern.py", "SIZE = 64\n", "SIZE = 64  # lanes\n")
    assert project.build()["executed"] == 1
    assert entries(project) == before
    project.edit("demo/kern.py", "    # Scale it.\n", "    # Multiply.\n")
    assert project.build()["executed"] == 1
    assert not entries(project).keys() & before.keys()
    project.edit("demo/kern.py", "SCALE = 2\n", "SCALE = 3\n")
    assert project.build()["executed"] == 1
    assert project.build(FLYDSL_RUNTIME_RUN_ONLY="1", ARCH="gfx90a")["executed"] == 0
    # Machine code with line tables names the checkout.
    debugging = {"FLYDSL_DEBUG_ENABLE_DEBUG_INFO": "1"}
    assert project.build(**debugging)["executed"] == 1
    other = new_project(
        "other", {**FILES, "demo/kern.py": (project.path / "demo/kern.py").read_text()}
    )
    assert other.build(**debugging)["executed"] == 1
    assert any(str(other.path).encode() in text_of(e) for e in entries(other).values())
    assert not any(str(project.path).encode() in text_of(e) for e in entries(other).values())


def text_of(entry: bytes) -> bytes:
    """The IR in an entry; nothing is unpickled."""
    start = entry.find(b"\x78\x9c")
    return zlib.decompressobj().decompress(entry[start:]) if start >= 0 else entry


FAILING = {
    "nothing": "compiled no FlyDSL kernel",
    "passes_over": "it passed over",
    "links": "'linking' links external libraries",
    "elsewhere": "left no entry in its cache",
    "another_gpu": "the function changed ARCH",
    "another_gpu_meanwhile": "the function changed ARCH",
    "cannot_write": "no room",
    "forges": "FlyDSL compiled nothing of the name of 'other_000",
    "empties": ".pkl is empty",
    "aborts": "ended by SIGABRT",
}


def test_what_fails_says_why(new_project: Callable[..., Project]) -> None:
    kernels = [KERNEL.format(name=n, source=n, more="") for n in (*FAILING, "works")]
    bad = 'configs = [{ n = 1, function = "tanh" }, { n = 1, function = "no_such_function" }]'
    kernels.append(KERNEL.format(name="copy", source="compile_copy", more=bad))
    project = new_project("one", {**FILES, "pyproject.toml": HEAD + "".join(kernels)})
    ended = project.command("build", "--json")
    assert ended.returncode == 1, ended.stderr
    summary = json.loads(ended.stdout.splitlines()[-1])
    reasons = {f["kernel"]: f["reason"] for f in summary["failures"] if f["kernel"] != "copy"}
    assert reasons.keys() == FAILING.keys()
    for name, words in FAILING.items():
        assert words in reasons[name], reasons[name]
    assert "no_such_function" in reasons["passes_over"]
    assert "LLVM ERROR: Cannot select" in reasons["aborts"]
    others = {f["variant"]: f["reason"] for f in summary["failures"] if f["kernel"] == "copy"}
    assert "no libcall available for ftanh" in others["function=tanh, n=1"]
    assert "no_such_function" in others["function=no_such_function, n=1"]
    assert summary["executed"] == 1, "`works` did"


def test_left_out_until_it_is_there(new_project: Callable[..., Project], tmp_path: Path) -> None:
    packages = tmp_path / "site-packages"
    metadata = packages / "flydsl-9.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: flydsl\nVersion: 9.0\n")
    project = new_project("one", FILES)
    project.env["PYTHONPATH"] += f"{os.pathsep}{packages}"
    project.env["PYTHONPATH"] = f"{packages}{os.pathsep}{project.env['PYTHONPATH']}"
    ended = project.command("build")
    assert ended.returncode == 2 and "flydsl 9.0 is not one that works" in ended.stderr
    project.edit("pyproject.toml", "configs", "required = false\nconfigs")
    ended = project.command("build")
    assert ended.returncode == 0 and ended.stderr.count("copy is left out: flydsl 9.0") == 1
    shutil.rmtree(metadata.parent)
    assert project.build()["executed"] == 1


def test_declared_variables(new_project: Callable[..., Project]) -> None:
    project = new_project("one", FILES)
    project.edit("pyproject.toml", "configs", 'env = { ARCH = "gfx90a" }\nconfigs')
    ended = project.command("build")
    assert ended.returncode == 2 and "ARCH is not for a kernel to set" in ended.stderr
    project.edit("pyproject.toml", 'ARCH = "gfx90a"', 'FLYDSL_COMPILE_OPT_LEVEL = "1"')
    declared: Any = project.build() and entries(project)
    project.edit("pyproject.toml", 'env = { FLYDSL_COMPILE_OPT_LEVEL = "1" }\n', "")
    assert project.build(FLYDSL_COMPILE_OPT_LEVEL="1")
    assert entries(project) == declared
