"""sdist: everything that a build needs, nothing that a build left."""

import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings(
    "ignore::setuptools.SetuptoolsDeprecationWarning", "ignore::ResourceWarning"
)


def members() -> set[str]:
    (path,) = Path("dist").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = [m.name for m in archive.getmembers() if m.isfile()]
    return {name.partition("/")[2] for name in names}


def test_sources_headers_and_configs_are_contained(driver, setup):
    setup("sdist")
    assert {
        "demo/scale.cpp",
        "demo/scale.h",
        "demo/scale.csv",
        "demo/include/tile.inc",
        "pyproject.toml",
    } <= members()
    assert driver.log == []


def test_files_outside_the_package_are_contained(driver, setup, project):
    for name in ("csrc/deep/a.hpp", "csrc/k.cpp", "rows.py", "tools/gen.py", "tools/common.py"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("")
    text = (project / "pyproject.toml").read_text()
    text = text.replace('source = "demo/scale.cpp"', 'source = ["demo/scale.cpp", "csrc/k.cpp"]')
    text = text.replace('["demo/scale.csv"]', '["demo/scale.csv", "rows:all", "tools.gen:all"]')
    (project / "pyproject.toml").write_text(text)
    setup("sdist")
    wanted = {"csrc/k.cpp", "csrc/deep/a.hpp", "rows.py", "tools/gen.py", "tools/common.py"}
    assert wanted <= members()


def test_results_and_caches_are_left_out_however_broad_the_patterns(driver, setup, project):
    (project / "cache" / "cas-v1").mkdir(parents=True)
    (project / "cache" / "cas-v1" / "blob.cpp").write_text("")
    (project / "MANIFEST.in").write_text(
        "graft cache\ngraft build\ngraft demo\nrecursive-include . *.so *.json\n"
    )
    setup("build_ext", "--inplace")
    setup("sdist")
    kept = members()
    assert "demo/scale.cpp" in kept
    assert not [n for n in kept if n.startswith(("cache/", "build/")) or "_aot/" in n]


def test_whole_project_as_include_dir_means_its_headers(driver, setup, project):
    for name in ("top.h", "secret.env", ".git/config.h", "venv/x.h", "venv/pyvenv.cfg"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("")
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(text.replace('"demo/include"', '"."'))
    setup("sdist")
    kept = members()
    assert "top.h" in kept
    assert not {"secret.env", ".git/config.h", "venv/x.h"} & kept


def test_paths_outside_the_project_are_not_listed(driver, setup, project):
    (project.parent / "outside.csv").write_text("T\nfloat\n")
    text = (project / "pyproject.toml").read_text()
    text = text.replace('"demo/scale.csv"', '"../outside.csv", "missing.csv"')
    text = text.replace('"demo/include"', '"{package:numpy}/include", "/usr/include"')
    (project / "pyproject.toml").write_text(text)
    setup("sdist")
    kept = members()
    assert "demo/scale.cpp" in kept
    assert not [n for n in kept if "outside" in n or "usr" in n]


def test_malformed_table_does_not_stop_an_sdist(driver, setup, project):
    text = (project / "pyproject.toml").read_text()
    broken = text + '\n[[tool.aot-build.kernels]]\nsource = 3\nconfigs = "x.csv"\n'
    (project / "pyproject.toml").write_text(broken.replace('cache-dir = "cache"', "cache-dir = 1"))
    setup("sdist")
    assert "demo/scale.cpp" in members()
