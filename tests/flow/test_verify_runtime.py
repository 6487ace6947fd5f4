"""Would production compile? What ships, looked up by name, target and row."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flow.conftest import Project
from tests.flow.lookups import contents, looked_up, row_of, verdicts

CPP = """\
[tool.aot-build]
package = "demo"
targets = ["cpu", "cuda:sm_90a"]

[[tool.aot-build.kernels]]
name = "scale"
backend = "cpp"
source = "demo/scale.cpp"
configs = [{ T = ["float", "double"] }]
targets = ["cpu"]

[[tool.aot-build.kernels]]
name = "table"
backend = "python"
source = "demo.generate:make"
configs = ["demo.generate:rows"]
targets = ["cpu"]
"""
CPP_FILES = {
    "pyproject.toml": CPP,
    "demo/__init__.py": "",
    "demo/scale.cpp": 'extern "C" T scale(T x) { return x + x; }\n',
    "demo/generate.py": (
        "from pathlib import Path\n\n"
        "def rows(targets):\n    return [{'n': 1}, {'n': 2}]\n\n"
        "def make(out_dir, target, n):\n    Path(out_dir, 'table.txt').write_text('x' * n)\n"
    ),
}


@pytest.fixture
def plain(new_project: Callable[..., Project]) -> Project:
    project = new_project(files=CPP_FILES)
    project.build()
    return project


@pytest.mark.compiler
def test_libraries_are_found_and_opened_and_nothing_is_changed(
    plain: Project, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    before = contents(tmp_path)
    rows = looked_up(plain, HOME=str(home), XDG_CACHE_HOME=str(home / "cache"))
    assert verdicts(rows) == {
        ("scale", "T=float"): "found", ("scale", "T=double"): "found",
        ("table", "n=1"): "found", ("table", "n=2"): "found",
    }  # fmt: skip
    assert [row["ran"] for row in rows] == ["loaded", "loaded", "", ""]
    assert contents(tmp_path) == before
    told = plain.command("verify", "--runtime").stdout
    assert told == "2 kernels, 4 looked up, 0 would be compiled, 2 loaded here\n"


@pytest.mark.compiler
def test_what_ships_no_more_or_is_another(plain: Project) -> None:
    plain.edit("pyproject.toml", '"float", "double"', '"float", "int"')
    plain.edit("demo/generate.py", "{'n': 2}", "{'n': 3, 'x': 'y'}")
    (library,) = (p for p in plain.result.rglob("*.so") if "float" in row_of(plain, p))
    library.chmod(0o644)
    library.write_bytes(b"no library")
    rows = {(row["kernel"], row["variant"]): row for row in looked_up(plain, status=1)}
    missing = rows["scale", "T=int"]
    assert missing["verdict"] == "missing" and missing["nearest"] in ("T=double", "T=float")
    (change,) = missing["changes"]
    assert (change["component"], change["now"]) == ("T", '"int"')
    assert rows["scale", "T=double"]["verdict"] == "undeclared"
    failed = rows["scale", "T=float"]
    assert failed["verdict"] == "failed" and "does not load" in failed["detail"]
    other = rows["table", "n=3, x=y"]
    assert [c["component"] for c in other["changes"]] == ["n", "x"]
    told = plain.command("verify", "--runtime")
    assert told.returncode == 1
    assert "does not ship: scale [T=int] for cpu" in told.stdout
    assert "the nearest that ships: n=1" in told.stdout and 'x: - there, "y" here' in told.stdout


@pytest.mark.compiler
def test_what_ships_for_another_target_alone(plain: Project) -> None:
    plain.edit("pyproject.toml", '"float", "double"] }]\ntargets = ["cpu"]',
               '"float"] }]\ntargets = ["cpu:x86-64-v3"]')  # fmt: skip
    rows = looked_up(plain, "--target", "cpu:x86-64-v3", "--kernel", "scale", status=1)
    (change,) = rows[0]["changes"]
    assert (change["component"], change["was"], change["now"]) == ("target", "cpu", "cpu:x86-64-v3")


@pytest.mark.compiler
def test_what_is_damaged_or_cannot_be_asked(plain: Project) -> None:
    (table, _) = sorted(plain.result.rglob("*table.txt"), key=lambda p: p.stat().st_size)
    table.unlink()
    plain.edit("pyproject.toml", '["demo.generate:rows"]', "[{ n = [1, 2] }]")
    rows = looked_up(plain, "--kernel", "table", status=1)
    assert [row["verdict"] for row in rows] == ["found", "found", "damaged"]
    assert rows[2]["variant"] == "n=1" and "cannot be read" in rows[2]["detail"]
    plain.edit("pyproject.toml", "[{ n = [1, 2] }]", '["demo.generate:rows"]')
    plain.edit("demo/generate.py", "{'n': 1}", "ValueError('no row')")
    rows = looked_up(plain, "--kernel", "table", status=1)
    assert [row["verdict"] for row in rows] == ["failed", "found", "undeclared", "damaged"]
    assert rows[0]["variant"] == "demo.generate:rows row 1" and rows[0]["detail"] == "no row"
    plain.edit("demo/generate.py", "    return [", "    raise ValueError('no rows')\n    return [")
    rows = looked_up(plain, "--kernel", "table", status=1)
    assert rows[0]["verdict"] == "failed" and "no rows" in rows[0]["detail"]
    assert {row["verdict"] for row in rows[1:]} == {"undeclared", "damaged"}
    ended = plain.command("verify", "--runtime", "--kernel", "tabel")
    assert ended.returncode == 2 and "did you mean 'table'" in ended.stderr
    declared = (plain.path / "pyproject.toml").read_text()
    other = '\n[[tool.aot-build.kernels]]\nname = "other"\nbackend = "python"\n'
    other += 'source = "demo.generate:make"\ntargets = ["hip:gfx942"]\n'
    plain.write({"pyproject.toml": declared + other})
    ended = plain.command("verify", "--runtime", "--kernel", "other")
    assert ended.returncode == 2 and "kernel 'other' is not built" in ended.stderr


def damaged_wheel(path: Path, at: int | None, word: int | None) -> Path:
    """One whose file has another value in its header: flags, or the method; or damaged content."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("demo/__init__.py", bytes(range(256)) * 9)
    content = bytearray(path.read_bytes())
    if at is not None and word is not None:
        # The header in front of the file has no word for the version that made it.
        content[at - 2] = content[content.rindex(b"PK\x01\x02") + at] = word
    else:
        start = 30 + len("demo/__init__.py")
        content[start : start + 20] = b"\xff" * 20
    path.write_bytes(content)
    return path


def test_what_cannot_be_examined(new_project: Callable[..., Project], tmp_path: Path) -> None:
    project = new_project(files=CPP_FILES)
    ended = project.command("verify", "--runtime")
    assert ended.returncode == 2 and "no build has succeeded here" in ended.stderr
    ended = project.command("verify", "--runtime", "--installed")
    assert ended.returncode == 2 and "'demo' is not installed" in ended.stderr
    (tmp_path / "no.whl").write_text("no wheel")
    ended = project.command("verify", "--runtime", "--wheel", str(tmp_path / "no.whl"))
    assert ended.returncode == 2 and "cannot be read" in ended.stderr
    for method, (at, word) in enumerate(((8, 1), (10, 99), (None, None))):
        wheel = damaged_wheel(tmp_path / f"{method}.whl", at, word)
        ended = project.command("verify", "--runtime", "--wheel", str(wheel))
        assert ended.returncode == 2 and "cannot be read" in ended.stderr, ended.stderr
    ended = project.command("verify", "--wheel", "any.whl")
    assert ended.returncode == 2 and "--runtime" in ended.stderr
    ended = project.command("verify", "--runtime", "--sample", "3")
    assert ended.returncode == 2 and "--runtime looks all of them up" in ended.stderr
