"""Bad input: each with a message of its own, and nothing half-written."""

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.compiler

EDITS = [
    ("pyproject.toml", 'source = "demo/scale.cpp"', 'sorce = "demo/scale.cpp"',
     ["unknown key 'sorce'", "pyproject.toml:8", "did you mean 'source'?"]),
    ("pyproject.toml", '"cpu:x86-64-v3"', '"cpu:x86-64-v33"',
     ["unknown target 'cpu:x86-64-v33'", "did you mean 'cpu:x86-64-v3'?"]),
    ("pyproject.toml", "demo/scale.cpp", "demo/scal.cpp",
     ["source of kernel 'scale' not found", "did you mean 'demo/scale.cpp'?"]),
    ("pyproject.toml", "demo/scale.csv", "demo/scales.csv", ["demo/scales.csv", "did you mean"]),
    ("pyproject.toml", "demo.generate:make", "demo.generat:make",
     ["module 'demo.generat' not found", "did you mean 'demo.generate'?"]),
    ("demo/scale.csv", "float,32", "float", ["fewer cells", "demo/scale.csv:2"]),
    ("demo/scale.csv", "float,32", "float,32,1", ["more cells", "demo/scale.csv:2"]),
    ("demo/scale.csv", "T,BLOCK", "T,T", ["demo/scale.csv:1"]),
    ("demo/scale.csv", "T,BLOCK", "T,BLOCK-SIZE", ["'BLOCK-SIZE' cannot be a C++ macro"]),
    ("pyproject.toml", 'name = "table"', 'name = "scale"', ["two kernels are named 'scale'"]),
    ("pyproject.toml", 'backend = "cpp"', 'backend = "cp"', ["unknown backend 'cp'", "'cpp'"]),
    ("pyproject.toml", 'package = "demo"', 'package = "demo"\nmode = "relase"',
     ["relase", "did you mean 'release'?"]),
    ("pyproject.toml", "[tool.aot-build]", "[tool.aot-build", ["not valid TOML"]),
    ("pyproject.toml", '"demo/include"]', '"{package:nosuch_pkg}/include"]',
     ["package 'nosuch_pkg' is not installed", "pip install nosuch-pkg"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "words"), EDITS)
def test_wrong_words_are_errors_that_help(project, name, old, new, words):
    project.edit(name, old, new)
    ended = project.command("build")
    assert ended.returncode == 2
    for word in words:
        assert word in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not project.result.exists()


@pytest.mark.parametrize("command", ["build", "plan"])
def test_a_path_that_is_no_text_is_named(project, command):
    odd = os.fsdecode(os.fsencode(project.path) + b"\xff")
    os.rename(project.path, odd)
    project.path = Path(odd)
    ended = project.command(command)
    assert ended.returncode == 2
    assert "the project's path is no text" in ended.stderr and "PYTHONUTF8" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("env", [{"CXX": "no-such-compiler"}, {"PATH": "/nowhere"}])
def test_an_absent_compiler_is_named_with_the_kernel_and_the_cure(project, env):
    ended = project.command("build", **env)
    assert ended.returncode == 2
    assert "toolchain not found for kernel 'scale'" in ended.stderr
    assert "set CXX" in ended.stderr and "apt-get install g++" in ended.stderr
    assert not project.result.exists()


def test_a_kernel_that_does_not_compile_costs_itself_alone(project):
    project.edit("demo/scale.cpp", "FACTOR * BLOCK;", "FACTOR * BLOCK")
    ended = project.command("build")
    assert ended.returncode == 1
    assert "4 of 7 variants failed" in ended.stderr and "scale: 4 error" in ended.stderr
    assert "scale.cpp:2" in ended.stderr and "log: " in ended.stderr
    assert not (project.result / "manifest.json").exists()
    project.edit("demo/scale.cpp", "FACTOR * BLOCK", "FACTOR * BLOCK;")
    summary = project.build()
    assert (summary["executed"], summary["hits"]) == (4, 3)


def test_a_python_kernel_that_leaves_nothing_is_a_failure(project):
    project.edit("demo/generate.py", "'table.txt'", "'../table.txt'")
    ended = project.command("build")
    assert ended.returncode == 1
    assert "left no file" in ended.stderr


def test_a_link_is_no_artifact(project):
    project.write(
        {
            "demo/generate.py": "import os\n\ndef make(out_dir, target, n):\n"
            "    os.symlink('/etc/passwd', os.path.join(out_dir, 'table.txt'))\n"
        }
    )
    ended = project.command("build")
    assert ended.returncode == 1
    assert "is a link" in ended.stderr


def test_a_cache_that_cannot_be_written_is_said_and_done_without(project, tmp_path):
    (tmp_path / "file").touch()
    ended = project.command("build", AOT_BUILD_CACHE_DIR=str(tmp_path / "file" / "cache"))
    assert ended.returncode == 0
    assert "without a cache" in ended.stderr and "file/cache" in ended.stderr
    assert (project.result / "manifest.json").exists()


def test_a_project_that_declares_nothing(project):
    project.write({"pyproject.toml": "[project]\nname = 'demo'\n"})
    ended = project.command("build")
    assert ended.returncode == 2 and "nothing is declared" in ended.stderr


def test_unknown_words_on_the_command_line(project):
    assert "did you mean 'build'?" in project.command("biuld").stderr
    ended = project.command("build", "--kernel", "scal")
    assert ended.returncode == 2 and "did you mean 'scale'?" in ended.stderr
    ended = project.command("build", "--target", "cpu:x86-64-v9")
    assert ended.returncode == 2 and "unknown target" in ended.stderr
