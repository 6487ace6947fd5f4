"""Built once and never again: what runs after which edit."""

import json
import time

import pytest

from aot_build.layout import RUNTIME

pytestmark = pytest.mark.compiler


def test_the_second_build_runs_nothing(project):
    first = project.build()
    before = project.artifacts()
    second = project.build()
    assert (first["executed"], first["hits"]) == (project.variants, 0)
    assert (second["executed"], second["hits"]) == (0, project.variants)
    assert project.artifacts() == before


def test_another_checkout_shares_every_result(project, new_project):
    project.build()
    other = new_project("elsewhere/and/deeper")
    summary = other.build()
    assert summary["executed"] == 0
    assert other.artifacts() == project.artifacts()


def test_another_checkout_without_a_cache_gives_the_same_bytes(project, new_project, tmp_path):
    project.build()
    other = new_project("elsewhere")
    other.env["AOT_BUILD_CACHE_DIR"] = str(tmp_path / "other cache")
    assert other.build()["executed"] == project.variants
    assert other.artifacts() == project.artifacts()


def test_manifest_names_every_artifact_with_its_digest(project):
    import hashlib

    project.build()
    found = project.artifacts()
    manifest = json.loads(found["manifest.json"])
    files = [
        file
        for kernel in manifest["kernels"].values()
        for variant in kernel["variants"]
        for file in variant["files"].values()
    ]
    assert len(files) == project.variants
    for file in files:
        assert hashlib.sha256(found[file["path"]]).hexdigest() == file["sha256"]
        assert len(found[file["path"]]) == file["size"]
    assert set(found) == {f["path"] for f in files} | {"manifest.json", *RUNTIME}


@pytest.mark.parametrize(
    ("name", "old", "new", "kernels"),
    [
        ("demo/scale.cpp", "FACTOR *", "FACTOR * 3 *", {"scale": 4}),
        ("demo/include/factor.h", "2", "5", {"scale": 4}),
        ("demo/generate.py", "'x'", "'y'", {"table": 3}),
        ("demo/scale.csv", "float,32", "float,33", {"scale": 2}),
        ("demo/scale.csv", "double,64\n", "double,64\nint,1\n", {"scale": 2}),
        ("demo/scale.csv", "float,32\ndouble,64", "double,64\nfloat,32\nfloat,32", {}),
        ("demo/generate.py", "def make", "# a comment\ndef  make", {}),
        ("pyproject.toml", '"cpu:x86-64-v3"]', '"cpu:x86-64-v2"]', {"scale": 2}),
        ("pyproject.toml", "[1, 2, 3]", "[3, 2]", {}),
        ("pyproject.toml", 'name = "table"', 'flags = ["-O3"]\nname = "table"', {}),
    ],
)
def test_an_edit_runs_what_it_reaches(project, name, old, new, kernels):
    project.build()
    project.edit(name, old, new)
    summary = project.build()
    rerun: dict[str, int] = {}
    for miss in summary["misses"]:
        rerun[miss["kernel"]] = rerun.get(miss["kernel"], 0) + 1
    assert rerun == kernels
    assert summary["executed"] == sum(kernels.values())


def test_a_header_that_appears_earlier_on_the_path_is_seen(project):
    project.build()
    before = project.artifacts()
    project.write({"demo/first/factor.h": "#define FACTOR 7\n"})
    assert project.build()["executed"] == 4
    assert project.artifacts() != before
    (project.path / "demo/first/factor.h").unlink()
    assert project.build()["executed"] == 0
    assert project.artifacts() == before


def test_a_reverted_edit_is_a_hit(project):
    project.build()
    project.edit("demo/scale.cpp", "FACTOR *", "FACTOR * 3 *")
    project.build()
    project.write({"demo/scale.cpp": project.files["demo/scale.cpp"]})
    assert project.build()["executed"] == 0


def test_what_is_no_longer_declared_leaves_the_result(project):
    project.build()
    project.edit("pyproject.toml", "[1, 2, 3]", "[2]")
    project.build()
    kept = [name for name in project.artifacts() if name.startswith("table/")]
    assert len(kept) == 1


def test_damaged_blobs_and_results_are_built_again(project, tmp_path):
    project.build()
    before = project.artifacts()
    for folder in ("cas-v1", "actions-v1"):
        for blob in list((tmp_path / "cache" / folder).rglob("*"))[::2]:
            if blob.is_file():
                blob.write_bytes(b"\0" * blob.stat().st_size)
    for file in project.result.rglob("*-scale.so"):
        file.unlink()
    project.build()
    assert project.artifacts() == before
    assert any((tmp_path / "cache" / "set-aside").iterdir())


def test_a_file_edited_while_it_compiles_is_not_kept(project):
    project.write(
        {
            "demo/generate.py": (
                "from pathlib import Path\n\n"
                "def make(out_dir, target, n):\n"
                "    here = Path(__file__).with_name('value.txt')\n"
                "    text = here.read_text()\n"
                "    if n == 1: here.write_text(text + '!')\n"
                "    Path(out_dir, 'table.txt').write_text(text)\n"
            ),
            "demo/value.txt": "v",
        }
    )
    project.edit("pyproject.toml", "[1, 2, 3]", "[1]")
    project.build()
    time.sleep(0.01)
    assert project.build()["executed"] >= 1


def test_summary_file_and_plan_and_explain(project, tmp_path):
    path = tmp_path / "summary.json"
    planned = json.loads(project.command("plan", "--json").stdout)
    assert len(planned) == project.variants and not any(row["hit"] for row in planned)
    assert not project.result.exists()
    shown = project.build(AOT_BUILD_SUMMARY=str(path))
    assert json.loads(path.read_text()) == shown
    project.edit("demo/include/factor.h", "2", "4")
    planned = json.loads(project.command("plan", "--json").stdout)
    assert {row["kernel"] for row in planned if not row["hit"]} == {"scale"}
    assert all("factor.h" in row["reason"] for row in planned if not row["hit"])
    project.build()
    told = project.command("explain", "scale").stdout
    assert "factor.h" in told and "table" not in told


def test_two_builds_at_once_share_the_work(project, new_project):
    import threading

    other = new_project("other")
    slow = project.files["demo/generate.py"].replace(
        "def make", "import time\n\ndef make"
    ).replace("    Path", "    time.sleep(0.3)\n    Path")  # fmt: skip
    found = []
    for each in (project, other):
        each.write({"demo/generate.py": slow})
    threads = [
        threading.Thread(target=lambda p=p: found.append(p.build())) for p in (project, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(summary["executed"] for summary in found) == project.variants
    assert project.artifacts() == other.artifacts()


def test_stats_verify_and_clean(project):
    project.build()
    found = json.loads(project.command("stats", "--json").stdout)
    assert found["results"] == project.variants and found["kernels"]["scale"]["variants"] == 4
    checked = project.command("verify", "--all")
    assert checked.returncode == 0 and f"{project.variants} variants built again" in checked.stdout
    project.command("clean")
    assert not (project.path / "build" / "aot").exists()
    assert project.build()["executed"] == 0


def test_verify_names_what_is_not_reproducible(project):
    project.write(
        {
            "demo/generate.py": (
                "import os\nfrom pathlib import Path\n\n"
                "def make(out_dir, target, n):\n"
                "    Path(out_dir, 'table.txt').write_bytes(os.urandom(8))\n"
            )
        }
    )
    project.build()
    checked = project.command("verify", "--all", "--json")
    verdicts = {row["kernel"]: row["verdict"] for row in json.loads(checked.stdout)}
    assert checked.returncode == 1
    assert verdicts == {"scale": "same", "table": "different"}


def test_a_package_that_installs_its_kernels_on_import_builds_from_nothing(project):
    project.write({"demo/__init__.py": "from demo import _aot\n\n_aot.install()\n"})
    assert project.build()["executed"] == project.variants


def test_a_python_kernel_may_run_programs(project):
    project.write(
        {
            "demo/generate.py": (
                "import subprocess\n\n"
                "def make(out_dir, target, n):\n"
                "    subprocess.run(['touch', f'{out_dir}/table.txt'], check=True)\n"
            )
        }
    )
    assert project.build()["executed"] == project.variants
    assert project.build()["executed"] == 0


def test_building_one_kernel_leaves_the_others_in_the_result(project):
    project.build()
    before = set(project.artifacts())
    project.edit("demo/scale.cpp", "BLOCK", "(BLOCK + 1)")
    project.edit("demo/generate.py", "'x'", "'y'")
    summary = project.build("--kernel", "scale")
    assert (summary["actions"], summary["executed"]) == (4, 4)
    assert set(project.artifacts()) == before
    assert project.build()["executed"] == 3


def test_equal_work_under_two_names_is_done_once(project, tmp_path):
    """And what it fails with is told of both."""
    count = tmp_path / "count"
    twin = project.path / "pyproject.toml"
    more = '\n[[tool.aot-build.kernels]]\nname = "other"\nbackend = "python"\n'
    more += 'source = "demo.generate:make"\nconfigs = [{ n = [1, 2, 3] }]\ntargets = ["cpu"]\n'
    twin.write_text(twin.read_text() + more)
    project.edit(
        "demo/generate.py", "    Path", f"    open({str(count)!r}, 'a').write('x')\n    Path"
    )
    summary = project.build()
    assert (summary["executed"], summary["hits"]) == (project.variants, 3)
    assert count.read_text() == "xxx"
    project.edit("demo/generate.py", "    Path", "    raise ValueError('no')\n    Path")
    project.command("build", AOT_BUILD_SUMMARY=str(tmp_path / "summary.json"))
    failed = json.loads((tmp_path / "summary.json").read_text())
    assert failed["failed"] == 6 and {f["kernel"] for f in failed["failures"]} == {"table", "other"}
    assert count.read_text() == "x" * 6
