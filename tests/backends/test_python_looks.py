"""Ways of Python code to an environment variable, and to a module, that leave no plain look-up."""

import zipfile
from typing import Any

import pytest

from aot_build.backends.tracing.recording import _package_of
from aot_build.core.environment import WHOLE

DONE = "\nopen(out_dir + '/x', 'w').close()"


@pytest.mark.parametrize(
    "look",
    [
        "os.environ.copy().get('DEMO')",
        "os.environ.copy().copy()['DEMO']",
        "'DEMO' in (os.environ | {'X': '1'})",
        "({'X': '1'} | os.environ).pop('DEMO', '')",
        "env = dict(os.environ); env.get('DEMO')",
        "env = {**os.environ}; env.get('DEMO')",
        "env = {}; env.update(os.environ); env.get('DEMO')",
        "env = dict(os.environb); env.get(b'DEMO')",
        "import copy; copy.copy(os.environ)['DEMO']",
        "os.environb.get(b'DEMO')",
        "os.getenvb(b'DEMO')",
    ],
)
def test_what_a_copy_is_asked_for_is_looked_up(
    bench: Any, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    monkeypatch.setenv("DEMO", "1")
    trace = bench.python(look + DONE).trace
    assert "DEMO" in trace.env and WHOLE not in trace.env


@pytest.mark.parametrize(
    "walk",
    [
        "[name for name in os.environ if name.startswith('DEMO')]",
        "sorted(os.environ.keys())",
        "'1' in os.environ.values()",
        "list(os.environ.items())",
        "open('/proc/self/environ').read()",
    ],
)
def test_who_goes_through_all_variables_reads_them_all(bench: Any, walk: str) -> None:
    assert WHOLE in bench.python(walk + DONE).trace.env


def test_what_a_copy_was_given_is_no_look_up(bench: Any) -> None:
    body = "env = os.environ.copy(); env['DEMO'] = '1'; env['DEMO']"
    assert "DEMO" not in bench.python(body + DONE).trace.env


@pytest.mark.parametrize(
    ("module", "body", "shadows"),
    [
        ("late/space/m.py", "import space.m", ["early/space", "early/space.py", "late/space.py",
                                               "late/space/__init__.py"]),
        ("early/space/m.py", "import space.m", ["late/space/__init__.py", "late/space"]),
        ("early/x", "import colorsys", ["early/colorsys.py", "early/colorsys/__init__.py"]),
        ("early/x", "import importlib.util as u; u.find_spec('nowhere')",
         ["early/nowhere", "late/nowhere.py", "late/nowhere.pyc"]),
        ("early/x", "sys.path.insert(0, here + '/a.zip')\nimport colorsys", ["a.zip"]),
    ],
)  # fmt: skip
def test_where_an_import_would_have_found_something_else(
    bench: Any, module: str, body: str, shadows: list[str]
) -> None:
    for name in ("demo/early/x", "demo/late/x", f"demo/{module}"):
        bench.write(name, "")
    start = "import sys\nhere = os.path.dirname(__file__)\n"
    start += "sys.path[:0] = [here + '/early', here + '/late']\n"
    trace = bench.python(start + body + DONE).trace
    missing = {p.removeprefix("{project}/demo/") for p in trace.missing}
    assert set(shadows) <= missing
    assert not {p for p in missing if p.startswith(module.partition("/x")[0] + "/m")}


def test_a_folder_that_was_opened_as_a_file(bench: Any) -> None:
    bench.write("demo/folder/x", "")
    body = "try:\n    open(os.path.dirname(__file__) + '/folder')\nexcept OSError:\n    pass"
    assert "{project}/demo/folder" in bench.python(body + DONE).trace.present


def test_a_module_in_an_archive_counts_by_the_archive(bench: Any) -> None:
    body = (
        "import sys, zipfile\nhere = os.path.dirname(__file__)\n"
        "sys.path.insert(0, here + '/a.zip')\nimport packed"
    )
    bench.write("demo/a.py", "")
    with zipfile.ZipFile(bench.project / "demo/a.zip", "w") as archive:
        archive.writestr("packed.py", "")
    trace = bench.python(body + DONE).trace
    assert "{project}/demo/a.zip" in trace.files
    assert not [name for name in trace.modules if "packed" in name]


def test_looks_into_the_folder_of_a_package(bench: Any) -> None:
    body = (
        "import msgspec, importlib.metadata\nplace = os.path.dirname(msgspec.__file__)\n"
        "os.path.exists(place + '/missing'), os.path.getsize(place + '/py.typed')\n"
        "os.listdir(place), importlib.metadata.version('msgspec')"
    )
    packages = bench.python(body + DONE).packages
    names = {path.partition("-packages/")[2] for paths in packages.values() for path in paths}
    assert {"msgspec/missing", "msgspec/py.typed", "msgspec/"} <= names
    assert [name for name in packages if name.startswith("msgspec-")]


def test_metadata_that_a_package_vendors_is_not_the_package() -> None:
    site = "/venv/lib/python3/site-packages"
    assert _package_of(f"{site}/tools/_vendor/wheel-1.dist-info/entry_points.txt") == ""
    assert _package_of(f"{site}/wheel-1.dist-info/entry_points.txt") == ""
    assert _package_of(f"{site}/wheel-1.dist-info/METADATA") == "wheel-1.dist-info"
    assert _package_of(f"{site}/tools/_vendor/wheel/__init__.py") == "tools"
