"""Would production compile? Launches of Triton and FlyDSL, looked up in what ships."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flow.conftest import Project
from tests.flow.lookups import change_manifest, contents, looked_up, row_of

TRITON = """\
[tool.aot-build]
package = "demo"
targets = ["cuda:sm_90a", "hip:gfx942"]

[[tool.aot-build.kernels]]
name = "shift"
backend = "triton"
source = "demo.kern:shift"
signature = { X = "*{dtype}:16", n = "i32", by = "fp32" }
configs = [{ dtype = ["fp16", "fp32"], BLOCK = 128 }]
"""
KERN = """\
import triton
import triton.language as tl


@triton.jit
def shift(X, n, by, BLOCK: tl.constexpr, TIMES: tl.constexpr = 2):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(X + o, by * TIMES, mask=o < n)
"""
INSTALLS = """\
try:
    from demo import _aot
except ImportError:
    pass
else:
    _aot.install()
"""
TRITON_FILES = {"pyproject.toml": TRITON, "demo/__init__.py": INSTALLS, "demo/kern.py": KERN}
CAPTURED = """\
[tool.aot-build]
package = "demo"
targets = ["cuda:sm_90a"]

[[tool.aot-build.kernels]]
name = "tuned"
backend = "triton"
source = "demo.launches:launch"
configs = [{ n = 4096 }]
keep = "demo.launches:keep"
"""
LAUNCHES = """\
import torch
import triton
import triton.language as tl


@triton.autotune([triton.Config({"BLOCK": b}) for b in (64, 128, 256)], key=["n"])
@triton.jit
def fill(X, n, BLOCK: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(X + o, 1.0, mask=o < n)


def launch(n):
    fill[(1,)](torch.empty(n, device="cuda"), n)


def keep(config, target, n):
    return config["BLOCK"] > 64
"""


@pytest.fixture
def triton_project(new_project: Callable[..., Project]) -> Project:
    pytest.importorskip("triton", exc_type=ImportError)
    project = new_project(files=TRITON_FILES)
    project.build()
    return project


@pytest.mark.triton
def test_launches_are_served_after_a_comment_and_from_anywhere(
    triton_project: Project, tmp_path: Path
) -> None:
    rows = looked_up(triton_project)
    assert len(rows) == 4 and {row["verdict"] for row in rows} == {"found"}
    triton_project.edit("demo/kern.py", "import triton\n", "# Why.\nimport triton\n")
    rows = looked_up(triton_project, "--target", "hip:gfx942", status=1)
    assert {c["component"] for c in rows[0]["changes"]} == {"source of demo.kern:shift"}
    assert triton_project.build()["executed"] == 0
    assert {row["verdict"] for row in looked_up(triton_project)} == {"found"}
    # What is installed is found by a process that stands elsewhere, on a tree that is read-only.
    site = tmp_path / "site"
    shutil.copytree(triton_project.path / "demo", site / "demo")
    shutil.copytree(triton_project.result, site / "demo" / "_aot")
    wheel = tmp_path / "demo-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        for file in sorted(site.rglob("*")):
            packed.write(file, file.relative_to(site).as_posix())
    for path in (*site.rglob("*"), site):
        path.chmod(0o555 if path.is_dir() else 0o444)
    triton_project.edit("demo/kern.py", "# Why.\n", "# Not\n# so.\n")
    shutil.rmtree(triton_project.path / "build")
    before = contents(site)
    both = os.pathsep.join((str(site), triton_project.env["PYTHONPATH"]))
    for examined in (["--installed"], ["--wheel", str(wheel)]):
        rows = looked_up(triton_project, *examined, PYTHONPATH=both)
        assert len(rows) == 4 and {row["verdict"] for row in rows} == {"found"}
    assert contents(site) == before
    for path in (site, *site.rglob("*")):
        path.chmod(0o755)


@pytest.mark.triton
def test_why_a_launch_would_compile(triton_project: Project) -> None:
    (gone,) = (
        p for p in triton_project.result.rglob("*.cubin") if "fp16" in row_of(triton_project, p)
    )
    gone.unlink()

    def change(kernels: dict[str, Any]) -> None:
        for variant in kernels["shift"]["variants"]:
            if variant["target"] == "hip:gfx942" and variant["row"]["dtype"] == "fp32":
                variant["metadata"]["triton"]["version"] = "3.0.0"

    change_manifest(triton_project, change)
    triton_project.edit("pyproject.toml", "BLOCK = 128", "BLOCK = [128, 256]")
    rows = {(row["target"], row["variant"]): row for row in looked_up(triton_project, status=1)}
    lost = rows["cuda:sm_90a", "BLOCK=128, dtype=fp16"]
    assert lost["verdict"] == "compiles" and "cannot be read" in lost["detail"]
    assert lost["nearest"] == lost["variant"] and not lost["changes"]
    older = rows["hip:gfx942", "BLOCK=128, dtype=fp32"]
    assert older["verdict"] == "compiles"
    assert [(c["component"], c["was"]) for c in older["changes"]] == [("Triton", "3.0.0")]
    other = rows["cuda:sm_90a", "BLOCK=256, dtype=fp32"]
    assert other["nearest"] == "BLOCK=128, dtype=fp32"
    assert [(c["component"], c["was"], c["now"]) for c in other["changes"]] == [
        ("BLOCK", "constexpr 128", "constexpr 256")
    ]
    found = [row for row in rows.values() if row["verdict"] == "found"]
    assert len(rows) == 8 and len(found) == 2
    told = triton_project.command("verify", "--runtime", "--target", "cuda:sm_90a").stdout
    assert "would be compiled: shift [BLOCK=256, dtype=fp16] for cuda:sm_90a" in told
    assert "and 1 more variant of shift for the same reason" in told
    assert "BLOCK: constexpr 128 there, constexpr 256 here" in told
    tally, hint = told.splitlines()[-2:]
    assert tally == "1 kernel, 4 looked up, 3 would be compiled"
    assert hint.startswith("hint: build and install again")


@pytest.mark.triton
def test_a_default_that_changed_and_arguments_that_no_launch_passes(
    triton_project: Project,
) -> None:
    triton_project.edit("pyproject.toml", 'by = "fp32"', "by = 3")
    triton_project.build()
    rows = looked_up(triton_project, "--target", "cuda:sm_90a")
    assert {row["verdict"] for row in rows} == {"found"}
    assert "by its row alone" in rows[0]["detail"], "3 is passed as i32, and not as a constant"
    triton_project.edit("pyproject.toml", "by = 3", 'by = "fp32"')
    triton_project.build()
    triton_project.edit("demo/kern.py", "TIMES: tl.constexpr = 2", "TIMES: tl.constexpr = 3")
    rows = looked_up(triton_project, "--target", "cuda:sm_90a", status=1)
    changes = {c["component"]: (c["was"], c["now"]) for c in rows[0]["changes"]}
    assert changes["TIMES"] == ("constexpr 2", "constexpr 3")
    assert changes.keys() == {"TIMES", "source of demo.kern:shift"}


@pytest.mark.triton
def test_a_module_that_crashes_costs_its_own_kernels(triton_project: Project) -> None:
    triton_project.edit(
        "pyproject.toml", "[[tool", '[[tool.aot-build.kernels]]\nname = "bad"\nbackend = "triton"\n'
        'source = "demo.bad:shift"\nsignature = { X = "*fp32", n = "i32", by = "fp32" }\n'
        "configs = [{ BLOCK = 64 }]\n\n[[tool"
    )  # fmt: skip
    triton_project.write({"demo/bad.py": "import os\nos.abort()\n"})
    rows = looked_up(triton_project, "--target", "cuda:sm_90a", status=1)
    assert [row["verdict"] for row in rows] == ["failed", "found", "found"]
    assert "SIGABRT" in rows[0]["detail"]


@pytest.mark.triton
def test_a_package_that_shows_nobody_what_it_ships(triton_project: Project) -> None:
    triton_project.write({"demo/__init__.py": ""})
    told = triton_project.command("verify", "--runtime")
    assert told.returncode == 0, "who calls install() elsewhere, or load(), is served"
    assert told.stdout == (
        "not installed\n  importing demo does not call demo._aot.install(): where nobody does,"
        " ordinary launches find nothing that ships\n"
        "1 kernel, 4 looked up, 0 would be compiled\n"
    )


@pytest.mark.slow
@pytest.mark.triton
@pytest.mark.torch
def test_an_autotuner_is_left_what_ships(new_project: Callable[..., Project]) -> None:
    files = {**TRITON_FILES, "pyproject.toml": CAPTURED, "demo/launches.py": LAUNCHES}
    project = new_project(files=files)
    assert project.build()["executed"] == 2
    # Without divisibility nothing that ships serves it.
    project.edit("pyproject.toml", "n = 4096", "n = [4096, 4097]")
    rows = looked_up(project, status=1)
    assert [row["verdict"] for row in rows] == ["found", "found", "compiles", "compiles"]
    assert {row["variant"].partition(",")[0] for row in rows} == {"BLOCK=128", "BLOCK=256"}
    assert [c["component"] for c in rows[2]["changes"]] == ["n: tt.divisibility 16"]


# FlyDSL's entries

FLYDSL = """\
[tool.aot-build]
package = "demo"
targets = ["hip:gfx942"]

[[tool.aot-build.kernels]]
name = "idle"
backend = "flydsl"
source = "demo.kern:launch"
configs = [{ n = [1, 2] }]
"""
FLYDSL_KERN = """\
import flydsl.compiler as flyc
import flydsl.expr as fx
import torch

THREADS = 64


@flyc.kernel
def idle_kernel(A: fx.Tensor, n: fx.Constexpr[int]):
    fx.thread_idx.x


@flyc.jit
def idle(A: fx.Tensor, n: fx.Constexpr[int], stream: fx.Stream = fx.Stream(None)):
    idle_kernel(A, n).launch(grid=(n, 1, 1), block=(THREADS, 1, 1), stream=stream)


def launch(out_dir, target, n):
    idle(torch.zeros(64), n)
"""


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.flydsl
def test_entries_are_found_by_the_keys_of_flydsl(new_project: Callable[..., Project]) -> None:
    files = {"pyproject.toml": FLYDSL, "demo/__init__.py": INSTALLS, "demo/kern.py": FLYDSL_KERN}
    project = new_project(files=files)
    project.build()
    assert {row["verdict"] for row in looked_up(project)} == {"found"}
    # A comment is part of the key, as FlyDSL reads the source.
    project.edit("demo/kern.py", "    fx.thread_idx.x", "    # Nothing.\n    fx.thread_idx.x")
    rows = looked_up(project, status=1)
    assert [row["verdict"] for row in rows] == ["compiles", "compiles"]
    assert [row["nearest"] for row in rows] == ["n=1", "n=2"]
    (change,) = rows[0]["changes"]
    assert "manager key" in change["component"] and change["was"] != change["now"]
    project.build()
    project.edit("pyproject.toml", "[1, 2]", "[1, 3]")
    found, other, old = looked_up(project, status=1)
    assert [row["verdict"] for row in (found, other, old)] == ["found", "compiles", "undeclared"]
    assert [change["component"] for change in other["changes"]] == [
        "n", "arguments, target or environment of idle (cache key)"
    ]  # fmt: skip
    # One that is damaged is told, and costs no other.
    project.build()
    entry = min(project.result.rglob("*.pkl"))
    entry.chmod(0o644)
    entry.write_bytes(entry.read_bytes()[:-1] + b"\0")
    rows = looked_up(project, status=1)
    assert sorted(row["verdict"] for row in rows) == ["compiles", "found"]
    (bad,) = (row for row in rows if row["verdict"] == "compiles")
    assert f"the shipped file {entry} is damaged" in bad["detail"]
    # A folder for entries is not yet one that the shipped ones are in.
    names = "import os\n\nos.environ['FLYDSL_RUNTIME_CACHE_DIR'] = os.path.expanduser('~/mine')\n"
    project.write({"demo/__init__.py": names})
    assert "hidden" in {row["verdict"] for row in looked_up(project, status=1)}
