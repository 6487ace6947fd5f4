"""Small real projects, built as their users would: by pip, in isolation, from a wheel of this one.

Each wheel is installed where neither aot_build nor setuptools is, and its kernels are called.
"""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECTS = ROOT / "tests" / "projects"
NOT_SOURCES = shutil.ignore_patterns(
    ".*", "build", "cache", "dist", "_aot", "__pycache__", "*.egg-info"
)
pytestmark = [pytest.mark.slow, pytest.mark.pip, pytest.mark.compiler, pytest.mark.network]

CALL_SCALE = """
import ctypes
from {package} import _aot
artifact = _aot.get("scale", target="cpu", T="float", BLOCK=64)
kernel = ctypes.CDLL(artifact.path)
row = ctypes.c_float * 3
out = row()
kernel.scale(row(1, 2, 3), out, ctypes.c_long(3), ctypes.c_float(2))
assert list(out) == [2, 4, 6], list(out)
assert kernel.block() == 64
import importlib.util
assert importlib.util.find_spec("aot_build") is None
assert importlib.util.find_spec("setuptools") is None
"""


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def find_links() -> str:
    """What pip is configured with: the variable would hide the file's value."""
    if "PIP_FIND_LINKS" in os.environ:
        return os.environ["PIP_FIND_LINKS"]
    command = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where pip finds a wheel of this checkout, and kernels a cache of their own."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    checkout = tmp_path_factory.mktemp("checkout") / "aot_build"
    shutil.copytree(ROOT, checkout, ignore=NOT_SOURCES)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AOT_BUILD_", "PYTHON"))}
    env = {**clean, "AOT_BUILD_TARGETS": "none"}
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, checkout, env=env)
    return {
        **clean,
        "PIP_FIND_LINKS": f"{folder} {find_links()}".strip(),
        "AOT_BUILD_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
    }


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter in an environment of its own, with nothing installed."""
    venv.create(tmp_path / "venv", with_pip=False)
    return tmp_path / "venv" / "bin" / "python"


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[Path]:
    """Where projects are copied to: a build leaves its folders beside the sources."""
    yield tmp_path / "projects"


def build_wheel(project: Path, env: dict[str, str]) -> Path:
    out = project.parent / "wheels" / project.name
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", out, project, env=env)
    (wheel,) = out.glob("*.whl")
    return wheel


def install(python: Path, wheel: Path) -> None:
    words = ("--python", python, "install", "--no-deps", "--no-index", wheel)
    run(sys.executable, "-m", "pip", *words)


def copy(name: str, folder: Path) -> Path:
    return Path(shutil.copytree(PROJECTS / name, folder / name, ignore=NOT_SOURCES))


@pytest.mark.parametrize(
    ("name", "package", "tag", "more"),
    [
        (
            "cpp_only",
            "cpp_only",
            "py3-none-",
            "assert _aot.get('scale', target='cpu', T='double', BLOCK=128).path",
        ),
        ("src_layout", "src_layout.deep", "py3-none-", ""),
        (
            "with_setup_py_build_ext",
            "with_setup_py_build_ext",
            "cp3",
            "from with_setup_py_build_ext import native; assert native.answer() == 42",
        ),
        (
            "with_cython",
            "with_cython",
            "cp3",
            "from with_cython import native; assert native.answer() == 42",
        ),
        (
            "rows_from_code",
            "rows_from_code",
            "py3-none-",
            "assert _aot.get('scale', target='cpu:x86-64-v3', T='float', BLOCK=256).path",
        ),
        pytest.param(
            "with_torch_extension",
            "with_torch_extension",
            "cp3",
            "from pathlib import Path\n"
            "assert Path(_aot.__file__).parents[1].joinpath('native.so').is_file()",
            marks=pytest.mark.torch,
        ),
    ],
)
def test_kernels_of_an_installed_wheel_run(environment, copied, python, name, package, tag, more):
    wheel = build_wheel(copy(name, copied), environment)
    assert wheel.name.startswith(f"{name}-1.0-{tag}"), wheel.name
    install(python, wheel)
    run(python, "-I", "-c", CALL_SCALE.format(package=package) + more)


def test_files_of_a_compiler_of_the_project_ship(environment, copied, python):
    wheel = build_wheel(copy("python_backend", copied), environment)
    install(python, wheel)
    program = """
from pathlib import Path
from python_backend import _aot
for target in ("cpu", "cuda:sm_90a"):
    artifact = _aot.get("table", target=target, base=3, size=4)
    assert Path(artifact.files["powers.txt"]).read_text() == "1,3,9,27\\n"
    assert Path(artifact.files["notes/target.txt"]).read_text() == target + "\\n"
"""
    run(python, "-I", "-c", program)


@pytest.mark.parametrize("name", ["cpp_only", "rows_from_code", "src_layout"])
def test_unpacked_sdist_builds_the_same_kernels(environment, copied, name):
    project = copy(name, copied)
    direct = build_wheel(project, environment)
    out = copied / "sdist"
    run(sys.executable, "-m", "build", "--sdist", "--outdir", out, project, env=environment)
    (archive,) = out.glob("*.tar.gz")
    shutil.unpack_archive(archive, copied / "unpacked")
    (unpacked,) = (copied / "unpacked").iterdir()
    again = build_wheel(unpacked, environment)
    assert kernels_of(again) == kernels_of(direct) != {}


def kernels_of(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {n: archive.read(n) for n in archive.namelist() if "/_aot/" in n}


@pytest.mark.parametrize("mode", ["lenient", "strict"])
def test_editable_install_serves_kernels(environment, copied, python, mode):
    project = copy("src_layout", copied)
    words = ("install", "--no-deps", "--config-settings", f"editable_mode={mode}", "-e", project)
    run(sys.executable, "-m", "pip", "--python", python, *words, env=environment)
    run(python, "-I", "-c", CALL_SCALE.format(package="src_layout.deep"))
    inplace = project / "src" / "src_layout" / "deep" / "_aot" / "manifest.json"
    assert inplace.is_file() == (mode == "lenient")


def test_equal_sources_in_two_places_make_equal_wheels(environment, copied):
    env = {**environment, "SOURCE_DATE_EPOCH": "1700000000"}
    first = build_wheel(copy("cpp_only", copied / "one"), env)
    other = {**env, "AOT_BUILD_CACHE_DIR": str(copied / "cache"), "AOT_BUILD_JOBS": "1"}
    second = build_wheel(copy("cpp_only", copied / "two" / "deeper"), other)
    assert first.read_bytes() == second.read_bytes()


def test_kernel_that_does_not_compile_is_a_message(environment, copied):
    project = copy("cpp_only", copied)
    source = project / "cpp_only" / "scale.cpp"
    source.write_text(source.read_text() + "\nthis is no C++;\n")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(copied), str(project)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    told = done.stdout + done.stderr
    assert done.returncode != 0
    assert "error: " in told and "scale" in told
    assert "this" in told, "the compiler's own words"
    assert "Traceback" not in told
