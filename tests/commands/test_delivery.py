"""Copies of a result: verified, complete, and nothing beside."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from setuptools import errors

from aot_build import snapshot
from aot_build.commands.deliver import DamagedResult, deliver, names, remove
from aot_build.layout import RUNTIME
from aot_build.locking import locked
from aot_build.request import Request

pytestmark = pytest.mark.filterwarnings("ignore::setuptools.SetuptoolsDeprecationWarning")

BLOBS = {"scale/cpu/0a-scale.so": b"one", "scale/cpu-x86-64-v3/0a-scale.so": b"two"}


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_copy_is_whole_and_of_its_own(tmp_path, leave_result):
    leave_result(tmp_path / "from", BLOBS)
    deliver(tmp_path / "from", tmp_path / "to")
    assert tree(tmp_path / "to") == tree(tmp_path / "from")
    assert sorted(tree(tmp_path / "to")) == names(tmp_path / "from")
    for name in BLOBS:
        assert not os.path.samefile(tmp_path / "from" / name, tmp_path / "to" / name)


def test_second_copy_replaces_the_first_entirely(tmp_path, leave_result):
    leave_result(tmp_path / "from", BLOBS)
    deliver(tmp_path / "from", tmp_path / "to")
    leave_result(tmp_path / "from", {"scale/cpu/0b-scale.so": b"three"})
    deliver(tmp_path / "from", tmp_path / "to")
    assert tree(tmp_path / "to") == tree(tmp_path / "from")
    assert not (tmp_path / "to" / "scale" / "cpu-x86-64-v3").exists()


def test_changed_blob_is_refused_and_no_manifest_written(tmp_path, leave_result):
    leave_result(tmp_path / "from", BLOBS)
    (tmp_path / "from" / "scale/cpu/0a-scale.so").write_bytes(b"0ne")
    with pytest.raises(DamagedResult, match="not what the manifest says"):
        deliver(tmp_path / "from", tmp_path / "to")
    assert not (tmp_path / "to" / "manifest.json").exists()
    assert not (tmp_path / "to" / "scale/cpu/0a-scale.so").exists()


def test_links_in_the_way_are_replaced_not_followed(tmp_path, leave_result):
    leave_result(tmp_path / "from", BLOBS)
    (tmp_path / "elsewhere" / "cpu").mkdir(parents=True)
    (tmp_path / "elsewhere" / "kept").write_bytes(b"kept")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "scale").symlink_to(tmp_path / "elsewhere")
    deliver(tmp_path / "from", tmp_path / "to")
    assert tree(tmp_path / "to") == tree(tmp_path / "from")
    assert tree(tmp_path / "elsewhere") == {"kept": b"kept"}


def test_link_instead_of_the_folder_is_replaced(tmp_path, leave_result):
    leave_result(tmp_path / "from", BLOBS)
    (tmp_path / "to").symlink_to(tmp_path / "from")
    deliver(tmp_path / "from", tmp_path / "to")
    assert not (tmp_path / "to").is_symlink()
    assert tree(tmp_path / "to") == tree(tmp_path / "from")


def test_folder_where_a_file_belongs_gives_way(tmp_path, leave_result):
    leave_result(tmp_path / "from", BLOBS)
    (tmp_path / "to" / "scale/cpu/0a-scale.so").mkdir(parents=True)
    (tmp_path / "to" / "scale/cpu-x86-64-v3").write_bytes(b"a file where a folder belongs")
    deliver(tmp_path / "from", tmp_path / "to")
    assert tree(tmp_path / "to") == tree(tmp_path / "from")


def test_manifest_of_the_copy_reads_the_same(tmp_path, leave_result):
    leave_result(tmp_path / "from", BLOBS)
    deliver(tmp_path / "from", tmp_path / "to")
    read = json.loads((tmp_path / "to" / "manifest.json").read_text())
    assert len(read["kernels"]["scale"]["variants"]) == 2


def test_names_of_nothing_are_none(tmp_path):
    assert names(tmp_path) == []


def test_remove_takes_folders_and_links_and_nothing(tmp_path, leave_result):
    leave_result(tmp_path / "from", BLOBS)
    (tmp_path / "link").symlink_to(tmp_path / "from")
    remove(tmp_path / "link")
    assert (tmp_path / "from" / "manifest.json").exists()
    remove(tmp_path / "from")
    remove(tmp_path / "from")
    assert list(tmp_path.iterdir()) == []


def overwrite(result: Path) -> None:
    (result / "scale/cpu/0a-scale.so").write_bytes(b"edited in place")


def lose(result: Path) -> None:
    (result / "scale/cpu/0a-scale.so").unlink()


def lose_runtime(result: Path) -> None:
    (result / RUNTIME[-1]).unlink()


def garble(result: Path) -> None:
    (result / "manifest.json").write_bytes(b"{")


def link(result: Path) -> None:
    lose(result)
    (result / "scale/cpu/0a-scale.so").symlink_to("/etc/hostname")


@pytest.mark.parametrize("edit", [overwrite, lose, lose_runtime, garble, link])
def test_edited_result_is_built_again(driver, setup, project, edit):
    vouching = Path(snapshot.path_of(str(project), Request(str(project)).shape))
    vouching.parent.mkdir(parents=True)
    vouching.write_text("vouches for the result")
    driver.edits = [edit]
    setup("build", "--build-lib=lib")
    assert tree(project / "lib/demo/_aot") == tree(driver.result)
    assert driver.log[:4] == ["start", "wait", "stop", "start"]
    assert not vouching.exists()


def test_result_edited_again_is_an_error(driver, setup, project):
    driver.edits = [overwrite, overwrite]
    with pytest.raises(errors.BaseError, match="not what the manifest says"):
        setup("build", "--build-lib=lib")
    assert driver.log.count("start") == 2
    assert not (project / "lib/demo/_aot/manifest.json").exists()


def test_nothing_is_copied_while_a_build_fills_the_result(driver, setup, project):
    copying = threading.Thread(target=setup, args=("build", "--build-lib=lib"))
    with locked(project / "build/aot/result.lock", exclusive=True):
        copying.start()
        copying.join(1.0)
        assert copying.is_alive()
        assert not (project / "lib/demo/_aot").exists()
    copying.join(10)
    assert tree(project / "lib/demo/_aot") == tree(driver.result)


def test_two_may_copy_at_once(driver, setup, project):
    with locked(project / "build/aot/result.lock", exclusive=False):
        setup("build", "--build-lib=lib")
    assert (project / "lib/demo/_aot/manifest.json").exists()


MAKE = """
from pathlib import Path

def make(out_dir, target):
    Path(out_dir, "table.bin").write_bytes(b"built")
"""
PYTHON_KERNEL = """
[[tool.aot-build.kernels]]
name = "table"
backend = "python"
source = "maker:make"
"""


@pytest.mark.slow
def test_edit_that_no_stat_shows_does_not_ship(setup, project, monkeypatch):
    monkeypatch.setenv("AOT_BUILD_CACHE_DIR", str(project / "cache"))
    text = (project / "pyproject.toml").read_text()
    text = text[: text.index("[[tool.aot-build.kernels]]")] + PYTHON_KERNEL
    (project / "pyproject.toml").write_text(text)
    (project / "maker.py").write_text(MAKE)
    setup("build", "--build-lib=lib")
    # A snapshot is written once no input is younger than two seconds.
    threading.Event().wait(2.1)
    setup("build", "--build-lib=lib")
    assert list((project / "build/aot").glob("snapshot-v*"))
    (shipped,) = (project / "build/aot/demo/_aot/table").rglob("*table.bin")
    before = shipped.stat()
    shipped.write_bytes(b"wrong")
    os.utime(shipped, ns=(before.st_atime_ns, before.st_mtime_ns))
    shutil.rmtree(project / "lib")
    setup("build", "--build-lib=lib")
    (copied,) = (project / "lib/demo/_aot/table").rglob("*table.bin")
    assert (copied.read_bytes(), shipped.read_bytes()) == (b"built", b"built")
