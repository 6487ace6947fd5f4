"""What `aot-build doctor` says of the programs behind a tool."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aot_build.digest import file_digest
from aot_build.doctor import Finding, examine
from aot_build.toolchains import rocm


def finding(tool: str, **env: str) -> Finding:
    return next(each for each in examine({**os.environ, **env}) if each.tool == tool)


@pytest.mark.compiler
def test_the_programs_of_the_compiler(tmp_path: Path) -> None:
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    found = {p.name: p for p in finding("g++", CXX="g++").programs}
    assert {"driver", "as", "ld"} <= found.keys()
    assert all(file_digest(os.path.realpath(p.path)).startswith(p.digest) for p in found.values())
    assert all(len(p.digest) == 12 for p in found.values())
    another = tmp_path / "as"
    another.write_text("#!/bin/sh\n")
    another.chmod(0o755)
    chosen = finding("g++", CXX="g++", COMPILER_PATH=str(tmp_path))
    assert [p.path for p in chosen.programs if p.name == "as"] == [str(another)]
    assert any(
        str(another) in line and file_digest(another)[:12] in line for line in chosen.lines()
    )


@pytest.mark.triton
def test_the_assembler_that_triton_really_runs(tmp_path: Path) -> None:
    pytest.importorskip("triton", exc_type=ImportError)
    found = {p.name: p for p in finding("triton").programs}
    assert "libtriton.so" in found and all(len(p.digest) == 12 for p in found.values())
    tool = tmp_path / "ptxas"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    named = {
        p.name: p
        for p in finding("triton", TRITON_PTXAS_PATH="ptxas", PATH=f"{tmp_path}:/bin").programs
    }
    assert named["ptxas"].path == str(tool) and named["ptxas"] != found.get("ptxas")
    assert {p.name: p for p in finding("triton", TRITON_PTXAS_PATH="/absent").programs} == found


@pytest.mark.compiler
def test_the_tracer_is_tried(tmp_path: Path) -> None:
    assert finding("tracer").where
    lacking = finding("tracer", PATH=str(tmp_path), CC="", CXX="")
    assert not lacking.where and "no C compiler" in lacking.costs


def test_what_flydsl_links_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USUAL", "VERSIONED", "SHARED_BITCODE"):
        monkeypatch.setattr(rocm, name, str(tmp_path / "none"))
    old = tmp_path / "ld.lld"
    old.write_text("#!/bin/sh\necho LLD 14.0.6\n")
    old.chmod(0o755)
    env = {"PATH": str(tmp_path), "ROCM_PATH": ""}
    lines = "\n".join((*finding("ld.lld", **env).lines(), *finding("bitcode", **env).lines()))
    assert (
        f"missing  ld.lld: no `flydsl` kernels: LLVM 19 or newer links them; too old: {old}"
        in lines
    )
    assert "install: apt-get install lld-19" in lines
    assert "install: apt-get install rocm-device-libs" in lines
    old.write_text("#!/bin/sh\necho LLD 19.1.7\n")
    found = finding("ld.lld", **env)
    assert (found.where, found.version) == (str(old), "19.1.7")


def test_as_json() -> None:
    words = [sys.executable, "-m", "aot_build", "doctor", "--json"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    for each in json.loads(said):
        assert all(p.keys() == {"name", "path", "digest"} for p in each["programs"])
        assert each["where"] or not each["programs"]
