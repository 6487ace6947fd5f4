"""Which linker and device libraries FlyDSL gets, and the folder that stands for a ROCm."""

import os
import shutil
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aot_build.backends.flydsl import BACKEND
from aot_build.core.toolchain import Toolchain
from aot_build.errors import EnvironmentProblem
from aot_build.files import StatIndex
from aot_build.toolchains import rocm
from aot_build.toolchains.rocm import REQUIREMENT, NoLinker, find_flydsl, find_rocm, lay_out

ROOT = Path(__file__).parents[2]
FLYDSL = Toolchain("flydsl", "0.4.2", "0" * 32, files=("/some/file",))


class Machine:
    """Nothing of this machine's: only what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {"PATH": f"{folder / 'bin'}:{folder / 'local'}"}

    def linker(self, place: str, version: str) -> Path:
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho 'Some LLD {version} (compatible with GNU linkers)'\n")
        path.chmod(0o755)
        return path

    def bitcode(self, place: str, content: str = "one") -> Path:
        path = self.folder / place
        path.mkdir(parents=True, exist_ok=True)
        (path / "ocml.bc").write_text(content)
        return path

    def flydsl(self) -> Toolchain:
        return find_flydsl(FLYDSL, self.env, StatIndex().digest, self.folder / "links")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Machine]:
    def made(name: str = "machine") -> Machine:
        folder = tmp_path / name
        monkeypatch.setattr(rocm, "USUAL", str(folder / "opt"))
        monkeypatch.setattr(rocm, "VERSIONED", str(folder / "lib/llvm-{}/bin/ld.lld"))
        monkeypatch.setattr(rocm, "SHARED_BITCODE", str(folder / "lib/*/amdgcn/bitcode"))
        return Machine(folder)

    return made


def test_the_first_place_that_has_it(machine: Callable[..., Machine]) -> None:
    here = machine()
    here.linker("local/ld.lld", "14.0.6")
    with pytest.raises(NoLinker) as raised:
        find_rocm(here.env)
    told = str(raised.value)
    assert "local/ld.lld (14.0.6)" in told and "apt-get install lld-19" in told
    assert f"{here.folder}/bin/ld.lld-19" in raised.value.absent
    found = []
    for place, version in (
        ("bin/ld.lld", "20.1.0"),
        ("lib/llvm-19/bin/ld.lld", "19.1.7"),
        ("local/ld.lld-19", "19.1.7"),
        ("local/ld.lld-21", "21.0.0"),
        ("opt/llvm/bin/ld.lld", "18.0.0"),
        ("mine/llvm/bin/ld.lld", "18.0.0"),
    ):
        path = str(here.linker(place, version))
        assert path in raised.value.absent or "mine" in place
        here.env["ROCM_PATH"] = str(here.folder / "mine")
        found.append((find_rocm(here.env).linker, path))
        assert path not in find_rocm(here.env).absent
    assert all(one == other for one, other in found), found


def test_a_linker_that_is_passed_over_is_watched(machine: Callable[..., Machine]) -> None:
    here = machine()
    old = str(here.linker("local/ld.lld-24", "14.0.6"))
    broken = here.folder / "bin/ld.lld"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(NoLinker) as raised:
        find_rocm(here.env)
    assert raised.value.files == (old, str(broken))
    assert "local/ld.lld-24 (14.0.6)" in str(raised.value)
    # Nobody knows what would mend it: as long as it is there, each build looks.
    assert str(broken) in raised.value.absent and old not in raised.value.absent
    here.linker("bin/ld.lld-19", "19.1.7")
    assert old in here.flydsl().files


def test_device_libraries_are_no_must(machine: Callable[..., Machine]) -> None:
    here = machine()
    here.linker("bin/ld.lld-19", "19.1.7")
    bare = here.flydsl()
    assert not (Path(bare.root) / "amdgcn").exists()
    (here.folder / "opt/amdgcn/bitcode").mkdir(parents=True)
    assert not find_rocm(here.env).bitcode, "an empty folder holds no device libraries"
    shared = here.bitcode("lib/x86_64-linux-gnu/amdgcn/bitcode")
    found = here.flydsl()
    assert found.digest != bare.digest and found.root != bare.root
    assert os.path.realpath(Path(found.root, "amdgcn/bitcode")) == str(shared)
    assert os.path.realpath(Path(found.root, "llvm/bin/ld.lld")) == str(
        here.folder / "bin/ld.lld-19"
    )
    assert str(here.folder / "opt/llvm/bin/ld.lld") in found.absent
    assert {str(shared / "ocml.bc"), str(here.folder / "bin/ld.lld-19")} <= set(found.files)
    whole = here.linker("opt/llvm/bin/ld.lld", "19.0.0")
    here.bitcode("opt/amdgcn/bitcode")
    assert here.flydsl().root == str(whole.parents[2])


def test_content_counts_and_no_path(machine: Callable[..., Machine]) -> None:
    digests = []
    for name in ("one", "another, longer"):
        here = machine(name)
        here.linker("bin/ld.lld-19", "19.1.7")
        here.bitcode("lib/any/amdgcn/bitcode")
        digests.append(here.flydsl().digest)
    assert digests[0] == digests[1]
    (here.folder / "lib/any/amdgcn/bitcode/ocml.bc").write_text("two")
    digests.append(here.flydsl().digest)
    here.linker("bin/ld.lld-19", "19.1.8")
    digests.append(here.flydsl().digest)
    assert len(set(digests)) == 3


def test_the_links_are_right_again(machine: Callable[..., Machine]) -> None:
    here = machine()
    here.linker("bin/ld.lld-19", "19.1.7")
    here.bitcode("lib/any/amdgcn/bitcode")
    folder = here.folder / "links"
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: lay_out(find_rocm(here.env), folder), range(16)))
    (root,) = found
    assert [str(path) for path in folder.iterdir()] == [root]
    link = Path(root, "llvm/bin/ld.lld")
    link.unlink()
    link.symlink_to("/nowhere")
    assert lay_out(find_rocm(here.env), folder) == root
    assert os.path.realpath(link) == str(here.folder / "bin/ld.lld-19")
    shutil.rmtree(Path(root, "amdgcn"))
    lay_out(find_rocm(here.env), folder)
    assert Path(root, "amdgcn/bitcode/ocml.bc").is_file()
    assert len(list(folder.iterdir())) == 1
    (here.folder / "bin/ld.lld-19").unlink()
    other = here.linker("bin/ld.lld-20", "20.1.0")
    again = lay_out(find_rocm(here.env), folder)
    assert again != root and os.path.realpath(Path(again, "llvm/bin/ld.lld")) == str(other)


@pytest.mark.parametrize("version", ["0.3.0", "0.5", "0.5.0rc1", "1.0"])
def test_versions_that_nobody_has_tried(machine: Callable[..., Machine], version: str) -> None:
    here = machine()
    package = Toolchain("flydsl", version, "0" * 32)
    with pytest.raises(EnvironmentProblem, match="is not one that works") as raised:
        find_flydsl(package, here.env, StatIndex().digest, here.folder)
    assert 'pip install "flydsl>=0.3.1,<0.5"' in str(raised.value)


def test_the_versions_that_work_are_the_same_everywhere() -> None:
    """Rooms do not import one another, and pyproject.toml imports nothing."""
    assert BACKEND.requires == (REQUIREMENT,)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (own,) = extras["optional-dependencies"]["flydsl"]
    (tested,) = (e for e in extras["optional-dependencies"]["test"] if e.startswith("flydsl"))
    assert own == tested.partition(";")[0] == REQUIREMENT
