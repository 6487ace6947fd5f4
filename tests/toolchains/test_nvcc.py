"""The CUDA compiler: which one, what it runs, and that a swapped part is seen."""

import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from aot_build.core.toolchain import Toolchain
from aot_build.errors import EnvironmentProblem
from aot_build.files import StatIndex
from aot_build.toolchains import nvcc
from aot_build.toolchains.cxx import find_cxx
from aot_build.toolchains.nvcc import find_nvcc

CXX = Toolchain("g++", "12.2", "host digest", ("/usr/bin/g++", "-m64"), ("openmp",), ("/bin/as",))
SCRIPT = """#!/bin/sh
here=$(dirname "$0")
case "$*" in
*--dryrun*)
    echo "#$ _HERE_=$here" >&2
    echo "#$ CICC_PATH=$here/../nvvm/bin" >&2
    echo "#$ NVVMIR_LIBRARY_DIR=$here/../nvvm/libdevice" >&2
    echo "#$ LIBRARIES=  \\"-L$here/../lib/stubs\\" \\"-L$here/../lib\\"" >&2 ;;
--version) echo "Cuda compilation tools, release 99.1, V99.1.7" ;;
--list-gpu-code) printf 'sm_90\\nsm_100\\n' ;;
esac
# one
"""
PARTS = (
    "bin/cudafe++", "bin/fatbinary", "bin/nvlink", "bin/ptxas", "bin/nvcc.profile",
    "bin/crt/link.stub", "nvvm/bin/cicc", "nvvm/libdevice/libdevice.10.bc",
    "lib/libcudart_static.a", "lib/libcudadevrt.a",
)  # fmt: skip


class Shelf:
    """Toolkits whose compilers are scripts, for questions of which and where."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def toolkit(self, name: str) -> Path:
        """A whole tree; its compiler."""
        tree = self.root / name
        for part in PARTS:
            (tree / part).parent.mkdir(parents=True, exist_ok=True)
            (tree / part).write_text(f"{part} one")
            (tree / part).chmod(0o755)
        (tree / "bin/nvcc").write_text(SCRIPT)
        (tree / "bin/nvcc").chmod(0o755)
        return tree / "bin/nvcc"

    def env(self, *folders: str, **more: str) -> Mapping[str, str]:
        """A PATH of toolkits, behind which there are the programs that scripts need."""
        found = [str(self.root / folder / "bin") for folder in folders]
        named = {name: str(self.root / value) for name, value in more.items()}
        return {"PATH": os.pathsep.join([*found, *os.defpath.split(os.pathsep)]), **named}


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.setattr(nvcc, "USUAL", str(tmp_path / "usual"))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site-packages")])
    return Shelf(tmp_path)


def find(env: Mapping[str, str]) -> Toolchain:
    return find_nvcc(env, StatIndex().digest, CXX)


PLACES = ("home", "path", "on_path", "usual", "site-packages/nvidia/cu13")


def test_the_order_in_which_places_are_searched(shelf: Shelf) -> None:
    env = shelf.env("on_path", CUDA_HOME="home", CUDA_PATH="path")
    compilers = [shelf.toolkit(place) for place in PLACES]
    for number, compiler in enumerate(compilers):
        found = find(env)
        assert found.command[0] == str(compiler)
        earlier = {str(path) for path in compilers[:number]}
        assert set(found.absent) & set(map(str, compilers)) == earlier
        shutil.rmtree(compiler.parents[1])
    with pytest.raises(EnvironmentProblem):
        find(env)


def test_what_it_is(shelf: Shelf) -> None:
    compiler = shelf.toolkit("home")
    found = find(shelf.env(CUDA_HOME="home"))
    assert (found.name, found.version) == ("nvcc", "99.1.7")
    assert found.command == (str(compiler), "-ccbin", "/usr/bin/g++", "-Xcompiler=-m64")
    assert found.features == ("sm_90", "sm_100", "openmp")
    assert {str(shelf.root / "home" / part) for part in PARTS} <= set(found.files)
    assert {"/bin/as", str(compiler)} <= set(found.files)
    assert found.root == str(shelf.root / "home")


def test_a_script_that_starts_it_is_looked_through(shelf: Shelf) -> None:
    compiler = shelf.toolkit("real")
    wrapper = shelf.root / "on_path/bin/nvcc"
    wrapper.parent.mkdir(parents=True)
    wrapper.write_text(f'#!/bin/sh\nexec {compiler} "$@"\n')
    wrapper.chmod(0o755)
    found = find(shelf.env("on_path"))
    assert found.command[0] == str(compiler)
    assert str(wrapper) in found.files


def test_a_link_stands_for_its_toolkit(shelf: Shelf) -> None:
    compiler = shelf.toolkit("cuda-99.1")
    (shelf.root / "usual").symlink_to(shelf.root / "cuda-99.1")
    (shelf.root / "on_path/bin").mkdir(parents=True)
    (shelf.root / "on_path/bin/nvcc").symlink_to(compiler)
    for env in (shelf.env("on_path"), shelf.env(CUDA_HOME="usual"), shelf.env()):
        assert find(env).command[0] == str(compiler)


def test_a_swapped_part_of_equal_size_and_mtime_is_seen(shelf: Shelf, tmp_path: Path) -> None:
    for swapped in ("bin/nvcc", *PARTS):
        shelf.toolkit("home")
        path, index = shelf.root / "home" / swapped, tmp_path / "index"
        kept = StatIndex(index)
        before = find_nvcc(shelf.env(CUDA_HOME="home"), kept.digest, CXX).digest
        kept.racy.clear()
        kept.save()
        status = path.stat()
        time.sleep(0.02)
        path.write_text(path.read_text().replace("one", "two"))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert path.stat().st_size == status.st_size
        after = find_nvcc(shelf.env(CUDA_HOME="home"), StatIndex(index).digest, CXX).digest
        assert after != before, swapped


def test_the_same_toolkit_elsewhere_is_the_same(shelf: Shelf) -> None:
    shelf.toolkit("home")
    shelf.toolkit("some/other/place")
    here, there = (find(shelf.env(CUDA_HOME=place)) for place in ("home", "some/other/place"))
    assert here.digest == there.digest and here.command != there.command


def test_another_host_compiler_is_another_toolchain(shelf: Shelf) -> None:
    shelf.toolkit("home")
    env = shelf.env(CUDA_HOME="home")
    other = Toolchain("g++", "13", "other digest", ("/usr/bin/g++-13",))
    found = find_nvcc(env, StatIndex().digest, other)
    assert found.digest != find(env).digest and found.command[2] == "/usr/bin/g++-13"


def test_a_launcher_of_the_host_compiler_is_looked_through(shelf: Shelf) -> None:
    shelf.toolkit("home")
    launched = Toolchain("g++", "12", "digest", ("/usr/bin/ccache", "sh", "-m64"))
    found = find_nvcc(shelf.env(CUDA_HOME="home"), StatIndex().digest, launched)
    assert found.command[1:] == ("-ccbin", shutil.which("sh", path=os.defpath), "-Xcompiler=-m64")


def test_flags_of_the_environment_do_not_reach_questions(shelf: Shelf) -> None:
    compiler = shelf.toolkit("home")
    compiler.write_text(
        SCRIPT.replace("#!/bin/sh", '#!/bin/sh\n[ -z "$NVCC_APPEND_FLAGS" ] || exit')
    )
    env = {**shelf.env(CUDA_HOME="home"), "NVCC_APPEND_FLAGS": "-lineinfo"}
    assert find(env).version == "99.1.7"


def test_no_compiler(shelf: Shelf) -> None:
    env = {"PATH": f"{shelf.root}/a", "CUDA_HOME": "/opt/none"}
    with pytest.raises(EnvironmentProblem) as caught:
        find(env)
    assert str(caught.value) == (
        "no CUDA compiler found (environment)\n"
        f"  searched: $CUDA_HOME=/opt/none, $CUDA_PATH, PATH, {shelf.root}/usual,"
        " nvidia/cu13 of the packages\n"
        f"  PATH:     {shelf.root}/a\n"
        "hint: set CUDA_HOME, or pip install nvidia-cuda-nvcc nvidia-cuda-cccl, or drop the cuda"
        " targets from [tool.aot-build] targets"
    )


def test_a_compiler_that_does_not_run(shelf: Shelf) -> None:
    compiler = shelf.toolkit("home")
    compiler.write_bytes(b"\x7fELF garbage")
    with pytest.raises(EnvironmentProblem, match="does not run"):
        find(shelf.env(CUDA_HOME="home"))


def test_a_program_that_is_no_compiler(shelf: Shelf) -> None:
    compiler = shelf.toolkit("home")
    compiler.write_text("#!/bin/sh\necho not installed; exit 1\n")
    with pytest.raises(EnvironmentProblem) as caught:
        find(shelf.env(CUDA_HOME="home"))
    assert caught.value.message == f"{compiler} does not say which CUDA compiler it starts"
    assert caught.value.fields["said"] == "not installed"


@pytest.mark.nvcc
@pytest.mark.compiler
def test_the_compiler_of_this_machine() -> None:
    cxx = find_cxx(os.environ, StatIndex().digest)
    try:
        one, two = (find_nvcc(os.environ, StatIndex().digest, cxx) for _ in range(2))
    except EnvironmentProblem as problem:
        pytest.skip(problem.message)
    assert one == two
    assert all(os.path.isabs(path) and os.path.exists(path) for path in one.files)
    names = {os.path.basename(path) for path in one.files}
    assert {"cicc", "cudafe++", "fatbinary", "nvcc", "nvlink", "ptxas", "nvcc.profile"} <= names
    assert {"libcudart_static.a", "libcudadevrt.a", "link.stub"} <= names
    assert any(name.startswith("libdevice") for name in names)
    assert "sm_90" in one.features and set(cxx.features) <= set(one.features)


@pytest.mark.nvcc
@pytest.mark.compiler
def test_a_host_compiler_may_be_named_for_it(tmp_path: Path) -> None:
    cxx = find_cxx(os.environ, StatIndex().digest)
    (tmp_path / "host").mkdir()
    link = tmp_path / "host" / "g++"
    link.symlink_to(cxx.command[0])
    for named in (link, link.parent):
        env = {**os.environ, "NVCC_CCBIN": str(named)}
        try:
            found = find_nvcc(env, StatIndex().digest, cxx)
        except EnvironmentProblem as problem:
            pytest.skip(problem.message)
        assert found.command[1:] == ("-ccbin", str(link))


# What words bring into play


def test_gpus_of_this_host_and_another_host_compiler(shelf: Shelf) -> None:
    compiler = shelf.toolkit("home")
    gpus = "echo 'cicc -arch compute_75' 'ptxas --gpu-name sm_75' >&2"
    compiler.write_text(
        SCRIPT.replace("*--dryrun*)", f"*=native*--dryrun*) {gpus} ;;\n*--dryrun*)")
    )
    asked: list[tuple[str, ...]] = []

    def brings(words: tuple[str, ...], env: Mapping[str, str]) -> dict[str, str]:
        asked.append(words)
        return {"host": " ".join(words)}

    host = dataclasses.replace(CXX, brings=brings)
    found = find_nvcc(shelf.env(CUDA_HOME="home"), StatIndex().digest, host)
    assert found.brings(("-arch=native",), {}) == {"gpus": "compute_75 sm_75"}
    assert found.brings(("-ccbin=/usr/bin/g++",), {}) == {}, "as it is called anyway"
    assert asked == []
    assert found.brings(("-march=native", "-ccbin=/usr/bin/g++"), {}) == {"host": "-march=native"}
    other = shelf.root / "other" / "g++"
    other.parent.mkdir()
    digests = []
    for note in ("one", "two"):
        other.write_text(f"#!/bin/sh\n# {note}\n")
        other.chmod(0o755)
        found = find_nvcc(shelf.env(CUDA_HOME="home"), StatIndex().digest, host)
        digests.append(found.brings((f"-ccbin={other}",), {})["host-compiler"])
    assert digests[0] != digests[1]


@pytest.mark.nvcc
@pytest.mark.compiler
def test_a_swapped_assembler_of_a_copied_toolkit_is_seen(tmp_path: Path) -> None:
    try:
        cxx = find_cxx(os.environ, StatIndex().digest)
        real = Path(find_nvcc(os.environ, StatIndex().digest, cxx).command[0]).parent
    except EnvironmentProblem as problem:
        pytest.skip(problem.message)
    copied = tmp_path / "cuda"
    (copied / "bin").mkdir(parents=True)
    for source, target in ((real.parent, copied), (real, copied / "bin")):
        for entry in source.iterdir():
            if entry.name in ("nvcc", "nvcc.profile", "ptxas"):
                shutil.copy2(entry, target / entry.name)
            elif not (target / entry.name).exists():
                (target / entry.name).symlink_to(entry)
    env, index = {**os.environ, "CUDA_HOME": str(copied)}, tmp_path / "index"
    before = digest_of(env, cxx, index)
    assert digest_of(env, cxx, index) == before
    ptxas = copied / "bin" / "ptxas"
    status = ptxas.stat()
    with open(ptxas, "r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"?")
    os.utime(ptxas, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digest_of(env, cxx, index) != before


def digest_of(env: Mapping[str, str], cxx: Toolchain, index: Path) -> str:
    """With digests that are kept from call to call, as from build to build."""
    kept = StatIndex(index)
    found = find_nvcc(env, kept.digest, cxx)
    kept.racy.clear()
    kept.save()
    return found.digest
