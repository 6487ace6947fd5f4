"""Copies of a result: verified, complete, and nothing beside."""

import json
import os
from pathlib import Path

import pytest

from aot_build.commands.deliver import deliver, names, remove
from aot_build.errors import InternalError

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
    with pytest.raises(InternalError, match="not what the manifest says"):
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
