"""What only the tracer sees: programs that actions start, native code, looks that open nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flow.single import KERNEL, SHELL, reasons, text_of

pytestmark = pytest.mark.compiler


def test_a_file_that_a_program_reads(python_kernel):
    project = python_kernel(SHELL.format(script='cat table.txt > "$1/out.txt"'))
    assert project.build()["executed"] == 1
    assert project.build()["executed"] == 0
    project.write({"demo/table.txt": "two"})
    assert project.build()["executed"] == 1
    assert text_of(project) == "two"
    project.write({"demo/unrelated.txt": "x"})
    assert project.build()["executed"] == 0


def test_a_file_that_a_program_looked_for_in_vain(python_kernel):
    project = python_kernel(SHELL.format(script='if [ -e more ]; then cat more; fi >"$1/out.txt"'))
    project.build()
    project.write({"demo/more": "now"})
    assert reasons(project.build()) == ["absent {project}/demo/more: absent -> present"]
    assert text_of(project) == "now"


def test_a_variable_that_a_shell_expands(python_kernel):
    project = python_kernel(SHELL.format(script='echo "$DEMO_LEVEL" > "$1/out.txt"'))
    project.build(DEMO_LEVEL="1")
    assert project.build(DEMO_LEVEL="1")["executed"] == 0
    # Of the user, of a batch system, of distutils: all that runs below it sees that one.
    around = {"LC_ALL": "C", "HOSTNAME": "h", "COLUMNS": "9", "SLURM_JOB_ID": "7", "PLAT": "linux"}
    assert project.build(DEMO_LEVEL="1", **around)["executed"] == 0
    assert project.build(DEMO_LEVEL="2")["executed"] == 1
    assert text_of(project) == "2\n"


def test_a_variable_that_native_code_looks_up(python_kernel):
    project = python_kernel(
        """\
    import ctypes, pathlib
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_char_p
    pathlib.Path(out_dir, "out.txt").write_text(str(libc.getenv(b"DEMO_LEVEL")))
"""
    )
    project.build()
    assert project.build(UNRELATED="1")["executed"] == 0
    assert project.build(DEMO_LEVEL="2")["executed"] == 1
    assert text_of(project) == "b'2'"


def test_a_library_that_the_loader_finds_by_a_variable(python_kernel, tmp_path):
    script = '"$DEMO_PROGRAM" > "$1/out.txt"'
    project = python_kernel(
        SHELL.format(script=script), keys='env = {DEMO_PROGRAM = "%s"}' % (tmp_path / "program")
    )
    (tmp_path / "main.c").write_text("int a(); int putchar(int); int main() { putchar(a()); }")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.c").write_text(f"int a() {{ return '{name[0]}'; }}")
        library = tmp_path / name / "libpart.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", library.with_name("a.c"), "-o", library], check=True
        )
    subprocess.run(["cc", "main.c", "-Lone", "-lpart", "-o", "program"], cwd=tmp_path, check=True)
    for name in ("one", "two"):
        project.env["LD_LIBRARY_PATH"] = str(tmp_path / name)
        assert project.build()["executed"] == 1
        assert text_of(project) == name[0]
    project.env["LD_LIBRARY_PATH"] = f"{tmp_path}/empty:{tmp_path}/two"
    (tmp_path / "empty").mkdir()
    assert project.build()["executed"] == 1
    (tmp_path / "one" / "libpart.so").rename(tmp_path / "empty" / "libpart.so")
    told = project.build()
    assert told["executed"] == 1 and text_of(project) == "o", (told, text_of(project))
    assert project.build()["executed"] == 0


def test_a_program_that_comes_to_stand_earlier_on_path(python_kernel, tmp_path):
    project = python_kernel(SHELL.format(script='demo-tool > "$1/out.txt"'))
    for name in ("early", "late"):
        (tmp_path / name).mkdir()
    path = f"{tmp_path}/early:{tmp_path}/late:{os.environ['PATH']}"

    def install(folder, text):
        tool = tmp_path / folder / "demo-tool"
        tool.write_text(f"#!/bin/sh\necho {text}\n")
        tool.chmod(0o755)

    install("late", "late")
    project.build(PATH=path)
    assert project.build(PATH=path)["executed"] == 0
    install("early", "early")
    assert project.build(PATH=path)["executed"] == 1
    assert text_of(project) == "early\n"
    later = path.replace(f"{tmp_path}/early:", "")
    project.build(PATH=later)
    assert text_of(project) == "late\n"
    assert project.build(PATH=later)["hits"] == 1


def test_the_stand_in_for_an_old_make_is_nobodys_input(python_kernel, tmp_path):
    """Each build writes it anew into a folder of its own."""
    old = tmp_path / "bin" / "make"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho GNU Make 4.3\n")
    old.chmod(0o755)
    path = f"{old.parent}:{os.environ['PATH']}"
    for name, executed in (("one", 1), ("two", 0)):
        project = python_kernel(SHELL.format(script='make > "$1/out.txt"'), name)
        summary = tmp_path / f"{name}.json"
        told = project.command("build", PATH=path, AOT_BUILD_SUMMARY=str(summary))
        assert json.loads(summary.read_text())["executed"] == executed
        assert "edited" not in told.stderr
    old.write_text("#!/bin/sh\necho GNU Make 4.2\n")
    assert project.build(PATH=path)["executed"] == 1
    assert text_of(project) == "GNU Make 4.2\n"


def test_the_folders_of_path_are_nobodys_input(python_kernel, tmp_path):
    """Those of an isolated build have another name the next time."""
    look = "os.path.isdir(folder), os.path.isdir(os.path.dirname(folder))"
    project = python_kernel(
        f"    import os\n    for folder in os.get_exec_path():\n        {look}\n"
        "    open(out_dir + '/out.txt', 'w').write('x')\n"
    )
    for number, executed in enumerate((1, 0)):
        folder = tmp_path / f"isolated-{number}" / "bin"
        folder.mkdir(parents=True)
        assert project.build(PATH=f"{folder}:{os.environ['PATH']}")["executed"] == executed
        shutil.rmtree(folder.parent)


@pytest.mark.parametrize(
    ("look", "edit", "expected"),
    [
        ("os.path.getsize('table.txt')", ("demo/table.txt", "three"), "5"),
        ("os.access('more', os.R_OK)", ("demo/more", ""), "True"),
        ("sorted(os.listdir('rows'))", ("demo/rows/b", ""), "['a', 'b']"),
        ("sum(1 for _ in os.scandir('rows'))", ("demo/rows/b", ""), "2"),
        ("[p.name for p in pathlib.Path('.').glob('*.cfg')]", ("demo/a.cfg", ""), "['a.cfg']"),
        ("open(os.open('table.txt', 0)).read()", ("demo/table.txt", "two"), "two"),
        ("os.path.isdir('more')", ("demo/more/x", ""), "True"),
    ],
)
def test_looks_of_python_code(python_kernel, look, edit, expected):
    project = python_kernel(
        f"""\
    import os, pathlib
    os.chdir(os.path.dirname(__file__))
    pathlib.Path(out_dir, "out.txt").write_text(str({look}))
"""
    )
    project.write({"demo/rows/a": ""})
    project.build()
    assert project.build()["executed"] == 0
    project.write(dict([edit]))
    assert project.build()["executed"] == 1
    assert text_of(project) == expected


def test_a_link_that_leads_nowhere(python_kernel):
    project = python_kernel(
        """\
    import os
    link = os.path.join(os.path.dirname(__file__), "link")
    open(out_dir + "/out.txt", "w").write(f"{os.readlink(link)} {os.path.exists(link)}")
"""
    )
    (project.path / "demo/link").symlink_to("aim")
    project.build()
    assert project.build()["executed"] == 0
    project.write({"demo/aim": ""})
    assert project.build()["executed"] == 1 and text_of(project) == "aim True"


def test_what_a_forked_child_reads(python_kernel):
    project = python_kernel(
        "import os\n\ndef make(out_dir, target, n):\n"
        "    if not (child := os.fork()):\n"
        "        from demo.rules import WIDTH\n"
        "        text = f'{WIDTH} {os.environ.get(\"DEMO_LEVEL\")}'\n"
        "        open(f'{out_dir}/out.txt', 'w').write(text)\n"
        "        os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
    )
    project.write({"demo/rules.py": "WIDTH = 2\n"})
    project.build()
    assert project.build(UNRELATED="1")["executed"] == 0
    project.write({"demo/rules.py": "WIDTH = 3\n"})
    assert project.build()["executed"] == 1
    assert project.build(DEMO_LEVEL="1")["executed"] == 1 and text_of(project) == "3 1"


def test_what_git_takes_for_unchanged_counts_by_content(python_kernel):
    project = python_kernel(SHELL.format(script='git status --porcelain table.txt >"$1/out.txt"'))
    git = ["git", "-c", "user.name=a", "-c", "user.email=b"]
    # git rewrites an index that is as young as its files, each time that it looks at it.
    for path in filter(Path.is_file, project.path.rglob("*")):
        os.utime(path, (path.stat().st_mtime - 10,) * 2)
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], cwd=project.path, check=True)
    project.build()
    assert project.build()["executed"] == 0
    project.write({"demo/table.txt": "two"})
    assert project.build()["executed"] == 1
    assert text_of(project) == " M demo/table.txt\n"


def test_comments_in_modules_that_are_imported_rebuild_nothing(python_kernel):
    project = python_kernel(
        "from demo.rules import WIDTH\n\ndef make(out_dir, target, n):\n"
        "    open(f'{out_dir}/out.txt', 'w').write('x' * WIDTH)\n"
    )
    project.write({"demo/rules.py": "WIDTH = 2\n"})
    project.build()
    project.write({"demo/rules.py": "# Wide.\nWIDTH  =  2\n", "demo/other.py": "x = 1\n"})
    assert project.build()["executed"] == 0
    project.write({"demo/rules.py": "WIDTH = 3\n"})
    assert project.build()["executed"] == 1


CPP = {
    "demo/__init__.py": "",
    "demo/first/.keep": "",
    "demo/data.bin": "abc",
    "demo/include/a.h": "#define A 1\n",
    "demo/k.cpp": (
        '#include "a.h"\n'
        "#if __has_include(<maybe.h>)\n#include <maybe.h>\n#endif\n"
        '__asm__(".section .rodata\\n.incbin \\"demo/data.bin\\"\\n.text");\n'
        'extern "C" int answer() { return A; }\n'
    ),
}


@pytest.fixture
def cpp(new_project):
    keys = 'include-dirs = ["demo/first", "demo/include"]\nflags = ["-Wa,-I{project}"]'
    text = KERNEL.format(name="k", backend="cpp", source="demo/k.cpp", more="", keys=keys)
    return new_project("cpp", {"pyproject.toml": text, **CPP})


@pytest.mark.parametrize(
    "edit",
    [
        {"demo/data.bin": "xyz"},
        {"demo/first/a.h": "#define A 2\n"},
        {"demo/first/maybe.h": ""},
        {"demo/include/a.h": "#define A 3\n"},
    ],
    ids=["incbin", "shadow", "has_include", "header"],
)
def test_what_compilers_read(cpp, edit):
    assert cpp.build()["executed"] == 1
    cpp.write({"demo/unrelated.h": ""})
    assert cpp.build()["executed"] == 0
    cpp.write(edit)
    assert cpp.build()["executed"] == 1
    assert cpp.build()["executed"] == 0


def test_the_time_of_a_source_reaches_no_object(cpp):
    cpp.edit("demo/k.cpp", "return A; }", 'return A; }\nextern "C" const char *when() {\n'
             "    return __TIMESTAMP__;\n}")  # fmt: skip
    cpp.build()
    before = cpp.artifacts()
    os.utime(cpp.path / "demo/k.cpp", (0, 0))
    assert cpp.build()["executed"] == 0
    cpp.env["AOT_BUILD_CACHE_DIR"] += "-other"
    assert cpp.build()["executed"] == 1
    assert cpp.artifacts() == before


def test_a_header_that_begins_to_ask_for_another(cpp):
    cpp.build()
    asks = '#if __has_include("late.h")\n#define A 7\n#else\n#define A 8\n#endif\n'
    cpp.write({"demo/include/a.h": asks})
    assert cpp.build()["executed"] == 1
    cpp.write({"demo/first/late.h": ""})
    assert cpp.build()["executed"] == 1


def test_without_a_c_compiler_the_build_goes_on(python_kernel, tmp_path):
    (tmp_path / "bin").mkdir()
    project = python_kernel("    open(out_dir + '/out.txt', 'w').write('x')\n")
    told = project.command("build", PATH=f"{tmp_path}/bin", CC="", CXX="")
    assert told.returncode == 0 and "without the tracer" in told.stderr


def test_a_worker_s_interpreters_keep_no_bytecode(python_kernel):
    project = python_kernel(
        "    import subprocess\n"
        f"    subprocess.run([{sys.executable!r}, '-c', 'import demo.rules'], check=True,\n"
        "                   cwd=__file__.rpartition('/demo/')[0])\n"
        "    open(out_dir + '/out.txt', 'w').write('x')\n"
    )
    project.write({"demo/rules.py": "WIDTH = 2\n"})
    project.build()
    assert not list(project.path.rglob("rules.*.pyc"))
    project.write({"demo/rules.py": "WIDTH = 3\n"})
    assert project.build()["executed"] == 1
