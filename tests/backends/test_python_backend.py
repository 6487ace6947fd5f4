"""The python backend in a fresh process: what a function leaves, and what it was seen to read."""

import os
from typing import Any

import pytest

from aot_build.core import threads
from aot_build.errors import InputError


def of_project(paths: tuple[str, ...]) -> list[str]:
    return [path.removeprefix("{project}/") for path in paths if path.startswith("{project}")]


def test_it_is_called_with_the_row_and_the_target(bench: Any) -> None:
    body = "open(out_dir + '/told', 'w').write(repr((target, sorted(row.items()))))"
    row = {"N": 64, "on": True, "none": None, "tile": (8, (1, 2)), "f": 0.5, "s": "x"}
    bench.python(body, row, target="hip:gfx942")
    assert (bench.out / "told").read_text() == repr(("hip:gfx942", sorted(row.items())))


@pytest.mark.parametrize("name", ["out_dir", "target"])
def test_a_column_may_not_take_its_arguments(bench: Any, name: str) -> None:
    with pytest.raises(InputError, match="passes itself"):
        bench.action("python", "demo.kern:make", row={name: 1})


def test_declared_environment_is_set_before_the_import(bench: Any) -> None:
    bench.write("demo/__init__.py", "")
    bench.write(
        "demo/kern.py",
        "import os\nSEEN = os.environ['DEMO']\n"
        "def make(out_dir, target):\n    open(out_dir + '/x', 'w').write(SEEN)\n",
    )
    value = "{project}|{out_dir}|{target}|{other}"
    bench.built(bench.action("python", "demo.kern:make", spec_env={"DEMO": value}))
    told = (bench.out / "x").read_text()
    assert told == f"{bench.project}|{bench.out}|cpu|{{other}}"


def test_imported_modules_count_by_syntax_and_opened_files_by_bytes(bench: Any) -> None:
    bench.write("demo/imported.py", "X = 1\n")
    bench.write("demo/both.py", "X = 1\n")
    bench.write("demo/table.csv", "a,b\n")
    trace = bench.python(
        "from demo import imported, both\n"
        "here = os.path.dirname(__file__)\n"
        "open(here + '/both.py').read(), open(here + '/table.csv').read()\n"
        "open(out_dir + '/x', 'w').close()"
    ).trace
    assert of_project(trace.modules) == ["demo/__init__.py", "demo/imported.py", "demo/kern.py"]
    assert of_project(trace.files) == ["demo/both.py", "demo/table.csv"]
    assert trace.listings == ()


@pytest.mark.parametrize(
    "reading",
    [
        "import inspect; inspect.getsource(__import__('demo.other').other.f)",
        "import demo.other, pathlib; pathlib.Path(demo.other.__file__).read_bytes()",
        "import demo.other, os; os.read(os.open(demo.other.__file__, os.O_RDONLY), 9)",
        "import demo.other, importlib.resources as r; (r.files('demo') / 'other.py').read_text()",
    ],
)  # fmt: skip
def test_a_module_whose_text_is_read_counts_by_bytes(bench: Any, reading: str) -> None:
    bench.write("demo/other.py", "def f():\n    return 1\n")
    trace = bench.python(reading + "\nopen(out_dir + '/x', 'w').close()").trace
    assert "demo/other.py" in of_project(trace.files)
    assert "demo/other.py" not in of_project(trace.modules)


def test_python_and_packages_are_told_by_name(bench: Any) -> None:
    report = bench.python(
        "import json, packaging.version, importlib\nimportlib.import_module('iniconfig')\n"
        "open(packaging.version.__file__).read()\nopen(out_dir + '/x', 'w').close()"
    )
    assert {"packaging", "iniconfig"} <= set(report.packages)
    assert not {"json", "aot_build", "msgspec", "demo"} & set(report.packages)
    trace = report.trace
    named = (*trace.files, *trace.modules, *trace.listings)
    assert all(path.startswith("{project}/demo/") for path in named)


def test_what_would_have_been_imported_instead(bench: Any) -> None:
    bench.write("demo/other.py", "")
    trace = bench.python(
        "import demo.other, packaging\n"
        "try:\n    import demo_extra\nexcept ImportError:\n    pass\n"
        "open(out_dir + '/x', 'w').close()"
    ).trace
    absent = of_project(trace.missing)
    for name in ("demo/other/__init__.py", "packaging.py", "packaging/__init__.py",
                 "demo_extra.py", "demo_extra/__init__.py"):  # fmt: skip
        assert name in absent
    assert {"demo/other.py", "demo.py"}.isdisjoint(absent), "found, or after what was found"


def test_a_new_file_beside_a_module_is_no_change(bench: Any) -> None:
    """The importer lists folders; were those listings kept, a README would rebuild everything."""
    body = "import packaging\nopen(out_dir + '/x', 'w').close()"
    before = bench.python(body).trace
    bench.write("README.md", "")
    bench.write("demo/notes.txt", "")
    bench.write("dist/demo-1.whl", "")
    assert before == bench.python(body).trace
    assert before.listings == ()


@pytest.mark.parametrize(
    "listing",
    [
        "os.listdir(PLACE)",
        "list(os.scandir(PLACE))",
        "import pathlib; list(pathlib.Path(PLACE).iterdir())",
        "import glob; glob.glob(PLACE + '/*.csv')",
        "os.chdir(PLACE); os.listdir()",
        "os.listdir(os.fsencode(PLACE))",
    ],
)
def test_a_listing_counts(bench: Any, listing: str) -> None:
    bench.write("demo/tables/a.csv", "")
    place = "PLACE = os.path.join(os.path.dirname(__file__), 'tables')\n"
    trace = bench.python(f"{place}{listing}\nopen(out_dir + '/x', 'w').close()").trace
    assert of_project(trace.listings) == ["demo/tables"]


def test_listing_its_own_outputs_is_nobodys_business(bench: Any) -> None:
    trace = bench.python(
        "import tempfile, shutil\n"
        "open(out_dir + '/x', 'w').close()\nopen(out_dir + '/x').read()\n"
        "os.listdir(out_dir), os.listdir(os.environ['TMPDIR']), os.listdir('.')\n"
        "with tempfile.TemporaryDirectory() as t:\n    open(t + '/y', 'w').close()"
    ).trace
    assert trace.listings == () and trace.files == ()


def test_what_was_looked_for_and_not_found(bench: Any) -> None:
    trace = bench.python(
        "import pathlib\nhere = pathlib.Path(__file__).parent\n"
        "os.path.exists(here / 'a.json'), (here / 'b.json').is_file(), os.path.isdir(here / 'c')\n"
        "os.path.lexists(str(here / 'd')), os.path.exists(here / 'kern.py')\n"
        "try:\n    open(here / 'e.json')\nexcept OSError:\n    pass\n"
        "open(out_dir + '/x', 'w').close()"
    ).trace
    absent = [p for p in of_project(trace.missing) if not p.endswith((".so", ".py", ".pyc"))]
    assert absent == [f"demo/{name}" for name in ("a.json", "b.json", "c", "d", "e.json")]


def test_what_it_wrote_itself_is_no_input(bench: Any) -> None:
    trace = bench.python(
        "here = os.path.dirname(__file__)\n"
        "if not os.path.exists(here + '/made'):\n    open(here + '/made.tmp', 'w').close()\n"
        "os.replace(here + '/made.tmp', here + '/made')\nopen(here + '/made').read()\n"
        "with open(here + '/log', 'a+') as log:\n    log.write('x')\nopen(here + '/log').read()\n"
        "open(out_dir + '/x', 'w').close()"
    ).trace
    assert trace.files == ()
    assert "demo/made" not in of_project(trace.missing)


def test_variables_that_are_looked_up(bench: Any) -> None:
    trace = bench.python(
        "os.environ.get('DEMO_GET'), os.getenv('DEMO_GETENV'), 'DEMO_IN' in os.environ\n"
        "os.environ.setdefault('DEMO_DEFAULT', '1'), os.environ.pop('DEMO_POP', None)\n"
        "os.environ['DEMO_SET'] = '1'; os.environ['DEMO_SET']\n"
        "os.environ.get('PATH'), os.environ.get('HOME')\n"
        "open(out_dir + '/x', 'w').close()"
    ).trace
    looked_up = [name for name in trace.env if name.startswith("DEMO_")]
    assert looked_up == ["DEMO_DEFAULT", "DEMO_GET", "DEMO_GETENV", "DEMO_IN", "DEMO_POP"]
    assert "PATH" not in trace.env and "HOME" not in trace.env


def test_variables_of_the_cpu_tokens_are_nobodys_input(bench: Any) -> None:
    """They differ from build to build, and in each worker threads are held to one."""
    names = [*threads.VARIABLES, "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CARGO_MAKEFLAGS", "MAX_JOBS"]
    trace = bench.python(
        f"for name in {names}:\n    os.environ.get(name)\nopen(out_dir + '/x', 'w').close()"
    ).trace
    assert not set(names) & set(trace.env)


@pytest.mark.parametrize(
    "copying",
    [
        "env = {**os.environ, 'X': '1'}",
        "env = dict(os.environ)",
        "env = os.environ.copy()",
        "env = {k: v for k, v in os.environ.items()}",
        "env = os.environ | {'X': '1'}",
    ],
)
def test_a_copy_for_a_subprocess_looks_nothing_up(
    bench: Any, monkeypatch: pytest.MonkeyPatch, copying: str
) -> None:
    monkeypatch.setenv("DEMO_BYSTANDER", "1")
    body = f"{copying}\nimport subprocess\n"
    trace = bench.python(body + "subprocess.run(['touch', out_dir + '/x'], env=env)").trace
    assert not [name for name in trace.env if name.startswith("DEMO")]
    assert os.listdir(bench.out) == ["x"]


@pytest.mark.parametrize(
    ("going", "whole"),
    [
        ("[name for name in os.environ if name.startswith('DEMO')]", True),
        ("sorted(os.environ)", True),
        ("list(os.environ.values())", True),
        ("list(os.environ.items())", True),
        ("len(os.environ), 'DEMO' in os.environ, 'DEMO' in os.environ.keys()", False),
        ("import subprocess; subprocess.run(['true'], env={**os.environ})", False),
        ("dict(os.environ), os.environ | {}, os.environ.copy()", False),
    ],
)
def test_whoever_goes_through_all_variables_reads_them_all(
    bench: Any, going: str, whole: bool
) -> None:
    trace = bench.python(f"{going}\nopen(out_dir + '/x', 'w').close()").trace
    assert ("*" in trace.env) is whole


def test_after_a_copy_a_look_up_counts_again(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_READ", "1")
    body = "list(os.environ)\nos.environ['DEMO_READ']\nopen(out_dir + '/x', 'w').close()"
    assert "DEMO_READ" in bench.python(body).trace.env


def test_the_environment_still_works_as_one(bench: Any) -> None:
    bench.python(
        "import subprocess\nos.environ['DEMO'] = 'seen'\n"
        "told = subprocess.run('echo $DEMO', shell=True, capture_output=True, text=True).stdout\n"
        "assert told == 'seen\\n', told\n"
        "del os.environ['DEMO']\nassert 'DEMO' not in os.environ\n"
        "assert len(os.environ) == len(list(os.environ)) > 0\n"
        "assert os.path.expandvars('$HOME') == os.environ['HOME']\n"
        "open(out_dir + '/x', 'w').close()"
    )
    assert os.listdir(bench.out) == ["x"], "it came to its last line"


def test_the_standard_library_still_works(bench: Any) -> None:
    bench.python(
        "import shutil, tempfile\n"
        "where = tempfile.mkdtemp()\nopen(where + '/a', 'w').write('1')\n"
        "shutil.copytree(where, where + '2')\nshutil.copystat(where + '/a', where + '2/a')\n"
        "shutil.rmtree(where)\nshutil.copy(where + '2/a', out_dir + '/x')\n"
        "assert os.stat(out_dir + '/x', follow_symlinks=False).st_size == 1\n"
        "assert os.stat('x', dir_fd=os.open(out_dir, os.O_RDONLY)).st_size == 1\n"
        "try:\n    os.stat('/nowhere')\nexcept FileNotFoundError as e:\n"
        "    assert e.filename == '/nowhere'"
    )
    assert (bench.out / "x").read_text() == "1"


def test_a_missing_attribute_names_the_nearest(bench: Any) -> None:
    bench.write("demo/__init__.py", "")
    bench.write("demo/kern.py", "def make_kernel(out_dir, target): pass\n")
    text = bench.error(bench.action("python", "demo.kern:make_kernal"))
    assert text == (
        "'demo.kern' has no attribute 'make_kernal' (input)\n"
        "  source: demo.kern:make_kernal\nhint: did you mean 'make_kernel'?"
    )


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise ValueError('no such tile')", "ValueError: no such tile"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("return undefined_name", "NameError"),
    ],
)
def test_whatever_it_raises_comes_out(bench: Any, body: str, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        bench.python(body)


def test_a_module_that_is_not_there(bench: Any) -> None:
    bench.write("demo/__init__.py", "")
    bench.write("demo/kern.py", "import no_such.module\n")
    text = bench.error(bench.action("python", "demo.kern:make"))
    assert text.startswith("ModuleNotFoundError: No module named 'no_such'\nhint: ")
    assert "[build-system] requires names: add no_such there" in text
