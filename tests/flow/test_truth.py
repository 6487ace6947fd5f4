"""Never stale: what an action read in ways that are easily missed, and edits while it runs."""

import json
import subprocess
import sys
import time

import pytest

from aot_build.events import PlanReady

pytestmark = pytest.mark.compiler

ROWS = """\
from pathlib import Path

def rows(targets, out_dir):
    wide = 7 if "v3" in str(targets) else 0
    for name, value in (("one", 3), ("two", 3)):
        text = f'extern "C" int answer() {{ return {value} + FACTOR - 1; }}'
        Path(out_dir, f"{name}.cpp").write_text(text)
        yield {"NAME": name, "source": [f"{out_dir}/{name}.cpp"]}
"""
GENERATED = """\
[tool.aot-build]
package = "demo"
targets = ["cpu", "cpu:x86-64-v3"]
[[tool.aot-build.kernels]]
name = "made"
backend = "cpp"
source = []
flags = ["-DFACTOR=1"]
configs = ["demo.rows:rows"]
"""


@pytest.fixture
def generated(new_project):
    """Rows from code, each with a source that the code writes."""
    files = {"pyproject.toml": GENERATED, "demo/__init__.py": "", "demo/rows.py": ROWS}
    return new_project("generated", files)


def test_generated_sources_are_inputs_of_their_rows_alone(generated, new_project):
    first = generated.build()
    assert (first["executed"], first["helpers"]) == (4, 1)
    assert generated.build()["executed"] == 0
    generated.edit("demo/rows.py", '("two", 3)', '("two", 4)')
    assert [m["variant"] for m in generated.build()["misses"]] == ["NAME=two"] * 2
    elsewhere = {
        name: (generated.path / name).read_text()
        for name in ("pyproject.toml", "demo/__init__.py", "demo/rows.py")
    }
    assert new_project("elsewhere", elsewhere).build()["executed"] == 0


def test_places_of_generated_files_read_the_same_whenever_they_are_known(generated):
    """In flags too, and whether another kernel was planned before the rows were listed or after."""
    generated.edit("demo/rows.py", '{"NAME": name,', '{"NAME": name, "flags": [f"-I{out_dir}"],')
    plain = (
        '[[tool.aot-build.kernels]]\nname = "plain"\nbackend = "cpp"\nsource = "demo/plain.cpp"\n'
    )
    generated.write({"demo/plain.cpp": "int plain;\n", "pyproject.toml": GENERATED + plain})
    assert generated.build()["executed"] == 6
    generated.edit("demo/plain.cpp", "plain", "simple")
    assert {m["kernel"] for m in generated.build()["misses"]} == {"plain"}


def test_specs_of_one_kernel_do_not_share_their_generated_sources(generated):
    override = (
        '[[tool.aot-build.overrides]]\nif = { target = "cpu:x86-64-v3" }\n'
        'defaults.cpp.flags = ["-DWIDE"]\n[[tool.aot-build.kernels]]'
    )
    generated.edit("pyproject.toml", "[[tool.aot-build.kernels]]", override)
    generated.edit("demo/rows.py", "FACTOR - 1", "{wide}")
    generated.build()
    manifest = json.loads((generated.result / "manifest.json").read_text())
    answers = {}
    for variant in manifest["kernels"]["made"]["variants"]:
        (file,) = variant["files"].values()
        call = (
            f"import ctypes; print(ctypes.CDLL({str(generated.result / file['path'])!r}).answer())"
        )
        told = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True)
        answers.setdefault(variant["target"], set()).add(told.stdout.strip())
    assert answers == {"cpu": {"3"}, "cpu:x86-64-v3": {"10"}}


def test_a_function_that_fails_costs_its_own_kernel(project, tmp_path):
    project.write({"demo/rows.py": "def rows(targets):\n    raise OSError('no rows today')\n"})
    project.edit("pyproject.toml", "[{ n = [1, 2, 3] }]", '["demo.rows:rows"]')
    path = tmp_path / "summary.json"
    ended = project.command("build", AOT_BUILD_SUMMARY=str(path))
    assert ended.returncode == 1 and "no rows today" in ended.stderr
    summary = json.loads(path.read_text())
    assert (summary["executed"], summary["failed"]) == (4, 1)
    assert summary["failures"][0]["kernel"] == "table"


def test_a_damaged_listing_is_made_again(generated, tmp_path):
    generated.build()
    for blob in (tmp_path / "cache" / "cas-v1").rglob("*"):
        if blob.is_file() and blob.read_bytes().startswith(b"["):
            blob.write_bytes(b"?" * blob.stat().st_size)
    for folder in (generated.path / "build/aot/generated").iterdir():
        (folder / "rows.json").unlink()
    assert generated.build()["executed"] == 0


def test_a_static_library_is_an_input(project):
    def make_library(value: int) -> None:
        project.write({"lib/f.cpp": f'extern "C" int f() {{ return {value}; }}\n'})
        for command in (["g++", "-fPIC", "-c", "f.cpp"], ["ar", "rcs", "libf.a", "f.o"]):
            subprocess.run(command, cwd=project.path / "lib", check=True)

    make_library(1)
    project.edit(
        "pyproject.toml", 'name = "scale"', 'name = "scale"\nlink-flags = ["{project}/lib/libf.a"]'
    )
    project.write({"demo/scale.cpp": 'extern "C" int f(); extern "C" int g() { return f(); }\n'})
    assert project.build()["executed"] == 7
    assert project.build()["executed"] == 0
    make_library(2)
    assert project.build()["executed"] == 4


def test_a_module_put_into_site_packages_by_hand_is_an_input(project, tmp_path):
    place = tmp_path / "site-packages"
    place.mkdir()
    (place / "handmade.py").write_text("VALUE = 'a'\n")
    project.env["PYTHONPATH"] += f":{place}"
    project.edit("demo/generate.py", "from pathlib", "import handmade\nfrom pathlib")
    project.edit("demo/generate.py", "'x'", "handmade.VALUE")
    first = project.command("build")
    again = project.build()
    assert "edited" not in first.stderr, first.stderr
    assert again["executed"] == 0, again["misses"]
    (place / "handmade.py").write_text("VALUE = 'b'\n")
    assert project.build()["executed"] == 3


def test_what_appears_while_an_action_runs_is_not_taken_for_seen(project):
    project.write(
        {
            "demo/generate.py": (
                "import os, time\nfrom pathlib import Path\n\n"
                "def make(out_dir, target, n):\n"
                "    here = Path(__file__).parent\n"
                "    found = (here / 'option').exists(), 'late' in os.listdir(here / 'first')\n"
                "    if not (here.parent / 'again').exists():\n"
                "        (here.parent / 'running').touch()\n"
                "        time.sleep(1.0)\n"
                "    Path(out_dir, 'table.txt').write_text(str(found))\n"
            )
        }
    )
    project.edit("pyproject.toml", "[1, 2, 3]", "[1]")
    asking = subprocess.Popen(
        [sys.executable, "-m", "aot_build", "build", "--project", str(project.path)],
        env=project.env,
        stderr=subprocess.DEVNULL,
    )
    while not (project.path / "running").exists():
        time.sleep(0.02)
    project.write({"demo/option": "", "demo/first/late": ""})
    assert asking.wait() == 0
    (project.path / "again").touch()
    project.build()
    (text,) = [b for name, b in project.artifacts().items() if name.endswith("table.txt")]
    assert text == b"(True, True)"


def test_a_declaration_edited_during_the_build_is_built_next(project):
    slow = project.files["demo/generate.py"].replace(
        "    Path", "    import time; time.sleep(2.5)\n    Path"
    )
    project.write({"demo/generate.py": slow})
    project.edit("pyproject.toml", "[1, 2, 3]", "[1]")
    asking = subprocess.Popen(
        [sys.executable, "-m", "aot_build", "build", "--project", str(project.path)],
        env=project.env,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(1.0)
    project.edit("pyproject.toml", "[1]", "[1, 2]")
    assert asking.wait() == 0
    time.sleep(2.2)
    assert project.build()["actions"] == 6


def test_a_listener_that_fails_is_told_and_the_build_goes_on(project, monkeypatch):
    from aot_build import frontend

    monkeypatch.setenv("AOT_BUILD_CACHE_DIR", project.env["AOT_BUILD_CACHE_DIR"])

    def listen(event):
        if isinstance(event, PlanReady):
            raise RuntimeError("no ears")

    asked = frontend.start(project.path, emit=listen)
    with pytest.raises(RuntimeError, match="no ears"):
        asked.wait()
    assert project.build()["executed"] == 0


def test_a_wrong_folder_is_left_as_it_is(tmp_path, project):
    ended = subprocess.run(
        [sys.executable, "-m", "aot_build", "build", "--project", str(tmp_path / "typo")],
        env=project.env,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2 and "no pyproject.toml here" in ended.stderr
    assert not (tmp_path / "typo").exists()
    ended = project.command("build", AOT_BUILD_SUMMARY=str(tmp_path / "no" / "summary.json"))
    assert ended.returncode == 0 and "the summary cannot be written" in ended.stderr


def test_two_modes_at_once_in_one_checkout(project):
    words = ["-m", "aot_build", "build", "--project", str(project.path), "--mode"]
    for _ in range(3):
        asked = [
            subprocess.Popen(
                [sys.executable, *words, mode], env=project.env, stderr=subprocess.PIPE
            )
            for mode in ("debug", "release")
        ]
        told = [each.communicate()[1] for each in asked]
        assert [each.returncode for each in asked] == [0, 0], told


def test_a_cache_that_can_only_be_read_is_read(project, new_project, monkeypatch, tmp_path):
    from aot_build.store import local

    project.build()
    reader = new_project("reader")
    code = (
        "import sys\nfrom aot_build.store import local\n"
        "def refuse(self): raise PermissionError(13, 'Permission denied')\n"
    )
    assert hasattr(local.LocalStore, "_prove_writable")
    # Root may write everywhere: the refusal has to be made.
    place = tmp_path / "refusing"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        code + "wanted = " + repr(str(tmp_path / "cache")) + "\n"
        "old = local.LocalStore._prove_writable\n"
        "local.LocalStore._prove_writable = lambda self: "
        "refuse(self) if str(self.root) == wanted else old(self)\n"
    )
    reader.env["PYTHONPATH"] = f"{place}:{reader.env['PYTHONPATH']}"
    ended = reader.command("build", "--json")
    assert "is not writable: it is read" in ended.stderr
    assert json.loads(ended.stdout)["hits"] == 7


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_matter(project, closed):
    command = f'"{sys.executable}" -m aot_build build --project "{project.path}" {closed}'
    for _ in range(2):
        assert subprocess.run(["sh", "-c", command], env=project.env).returncode == 0
    assert (project.result / "manifest.json").exists()


@pytest.mark.parametrize("name", ['a"b', "back\\slash", "sp ace é"])
def test_odd_folder_names_reach_no_listing(generated, new_project, name):
    files = {
        file: (generated.path / file).read_text()
        for file in ("pyproject.toml", "demo/__init__.py", "demo/rows.py")
    }
    odd = new_project(f"{name}/project", files)
    assert odd.build()["executed"] == 4
    assert generated.build()["executed"] == 0


def test_a_submodule_that_appears_later_is_seen(project):
    project.edit(
        "demo/generate.py",
        "def make",
        "try:\n    from demo.tuned import V\nexcept ImportError:\n    V = 'f'\n\ndef make",
    )
    project.edit("demo/generate.py", "'x'", "V")
    project.build()
    assert project.build()["executed"] == 0
    project.write({"demo/tuned.py": "V = 't'\n"})
    assert project.build()["executed"] == 3
