"""Find the CUDA compiler, and digest every program and library that it runs or links.

A toolkit is a tree; what stands on PATH is often a link to its `nvcc`, or a script that starts it.
`nvcc --dryrun` names the folders of the tree that it would use (CUDA Compiler Driver NVCC, "The
nvcc profile"): names and values, one a line, each line behind `#$ `.
"""

import functools
import glob
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping

from aot_build.core.toolchain import Brings, Toolchain
from aot_build.digest import key_digest
from aot_build.errors import EnvironmentProblem
from aot_build.toolchains.cxx import Digest, content_of, find_cxx, real_driver
from aot_build.toolchains.driver import asking, libraries, run

VARIABLES = ("CUDA_HOME", "CUDA_PATH")
USUAL = "/usr/local/cuda"
PACKAGES = ("nvidia/cu13", "nvidia/cuda_nvcc")
"""Where the wheels of the compiler put their tree."""
PROGRAMS = ("cicc", "cudafe++", "fatbinary", "nvlink", "ptxas", "bin2c")
LOADING = ("cicc", "cudafe++", "ptxas")
"""Programs whose shared libraries are asked for; the others load no others."""
FILES = (
    "{bin}/nvcc.profile", "{bin}/crt/*.stub", "{device}/libdevice*.bc", "{include}/crt/*.h*",
    "{include}/fatbinary_section.h", "{include}/math_constants.h",
)  # fmt: skip
"""Headers among them are those that the code includes which nvcc writes: no depfile names them."""
LIBRARIES = ("libcudart_static.a", "libcudadevrt.a", "libcudart.so")
HOST_COMPILER = re.compile(r"(?:-ccbin|--compiler-bindir)=(.*)")
HOST_GPUS = re.compile(r"(?:-arch|--gpu-architecture|-code|--gpu-code)=native")


def find_nvcc(env: Mapping[str, str], digest: Digest, cxx: Toolchain) -> Toolchain:
    """The first of $CUDA_HOME, $CUDA_PATH, PATH, /usr/local/cuda and the installed packages.

    `digest` gives a file's content digest; `cxx` compiles the host code, unless $NVCC_CCBIN names
    another compiler. `features` name the architectures it compiles for (`sm_90`), and what the host
    compiler has. Raises EnvironmentProblem where there is none.
    """
    if env.get("NVCC_CCBIN"):
        cxx = _host(env["NVCC_CCBIN"], env, digest)
    found, absent = _first(env)
    driver, words = real_driver(cxx.command, env)
    asked = asking(env, cxx.features)
    tree = _tree(found, driver, asked)
    nvcc = os.path.join(tree["_HERE_"], "nvcc")
    parts = {"nvcc": nvcc, **_parts(tree)}
    loads, needs = libraries([nvcc, *(parts[name] for name in LOADING if name in parts)], env)
    needs = tuple(name for name in needs if name not in cxx.features)
    if needs:
        asked = asking(env, needs)
    rows = content_of(loads | parts, digest)
    content = {name: taken for name, _, taken in rows}
    version = _version(nvcc, asked)
    return Toolchain(
        name="nvcc",
        version=version,
        digest=key_digest(("nvcc", version, content, cxx.digest)),
        command=(nvcc, "-ccbin", driver, *(f"-Xcompiler={word}" for word in words)),
        features=(*_arches(nvcc, asked), *cxx.features, *needs),
        files=tuple(sorted({found, *(os.path.realpath(path) for _, path, _ in rows), *cxx.files})),
        absent=(*absent, *cxx.absent),
        root=_root(nvcc),
        parts=(*rows, *((f"host {name}", path, taken) for name, path, taken in cxx.parts)),
        brings=_bringing(nvcc, asked, env, digest, cxx),
    )


def _host(named: str, env: Mapping[str, str], digest: Digest) -> Toolchain:
    """The host compiler of that name, or in that folder."""
    path = os.path.join(named, "g++") if os.path.isdir(named) else named
    return find_cxx({**env, "CXX": shlex.quote(path)}, digest)


def _bringing(
    nvcc: str, asked: Mapping[str, str], env: Mapping[str, str], digest: Digest, cxx: Toolchain
) -> Brings:
    """What further words bring into play: another host compiler, the GPUs of this host, and what
    they mean to the host compiler."""

    @functools.cache
    def gpus(word: str) -> str:
        said = _ask((nvcc, word, "--dryrun", "-cubin", "any.cu", "-o", "any.cubin"), asked)
        return " ".join(sorted(set(re.findall(r"\b(?:sm|compute)_\w+", said))))

    @functools.cache
    def host(named: str) -> Toolchain:
        return _host(named, env, digest)

    def brings(words: tuple[str, ...], more: Mapping[str, str]) -> dict[str, str]:
        found: dict[str, str] = {}
        compiler, rest = cxx, []
        for word in words:
            if HOST_GPUS.fullmatch(word):
                found["gpus"] = gpus(word)
            elif named := HOST_COMPILER.fullmatch(word):
                if named[1] in cxx.command:
                    continue
                compiler = host(named[1])
                found["host-compiler"] = compiler.digest
            else:
                rest.append(word)
        return found | (compiler.brings(tuple(rest), more) if rest or more else {})

    return brings


def _root(nvcc: str) -> str:
    """The folder of the toolkit, unless it is everybody's."""
    root = os.path.dirname(os.path.dirname(nvcc))
    return "" if root in ("", "/", "/usr", "/usr/local", sys.prefix) else root


def _first(env: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """The compiler as it is called, and the paths that would have come first."""
    absent: list[str] = []
    for path in _candidates(env):
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path, tuple(p for p in absent if not os.path.lexists(p))
        absent.append(path)
    named = [f"${name}={env[name]}" if env.get(name) else f"${name}" for name in VARIABLES]
    raise EnvironmentProblem(
        "no CUDA compiler found",
        {"searched": ", ".join((*named, "PATH", USUAL, f"{PACKAGES[0]} of the packages")),
         "PATH": env.get("PATH", os.defpath)},
        "set CUDA_HOME, or pip install nvidia-cuda-nvcc nvidia-cuda-cccl, or drop the cuda targets"
        " from [tool.aot-build] targets",
    )  # fmt: skip


def _candidates(env: Mapping[str, str]) -> Iterator[str]:
    trees = [env[name] for name in VARIABLES if env.get(name)]
    packages = [os.path.join(place, name) for place in sys.path for name in PACKAGES]
    search = env.get("PATH", os.defpath).split(os.pathsep)
    folders = [
        *(os.path.join(tree, "bin") for tree in trees),
        *filter(None, search),
        *(os.path.join(tree, "bin") for tree in (USUAL, *packages)),
    ]
    yield from (os.path.join(os.path.abspath(folder), "nvcc") for folder in folders)


def _tree(found: str, driver: str, env: Mapping[str, str]) -> dict[str, str]:
    """What the compiler says of its folders; `_HERE_` is where it lies itself."""
    path = os.path.realpath(found)
    # A launcher behind a link goes by the name of the link.
    path = path if os.path.basename(path).startswith("nvcc") else found
    words = (path, "-ccbin", driver, "--dryrun", "-cubin", "any.cu", "-o", "any.cubin")
    said = _ask(words, env)
    told = dict(re.findall(r"^#\$ (\w+)=(.*)$", said, re.MULTILINE))
    here = os.path.realpath(told.get("_HERE_", ""))
    if not os.path.isfile(os.path.join(here, "nvcc")):
        raise EnvironmentProblem(
            f"{found} does not say which CUDA compiler it starts",
            {"asked": shlex.join(words), "said": said.strip()[:500] or "nothing"},
            "set CUDA_HOME to the folder of the toolkit",
        )
    return {**told, "_HERE_": here}


def _parts(tree: Mapping[str, str]) -> dict[str, str]:
    """Programs, device code and libraries, by names that do not tell where the tree lies."""
    here, compilers = tree["_HERE_"], tree.get("CICC_PATH", "")
    found = {name: shutil.which(name, path=f"{compilers}{os.pathsep}{here}") for name in PROGRAMS}
    includes = [word[2:] for word in shlex.split(tree.get("INCLUDES", "")) if word[:2] == "-I"]
    places = {
        "bin": here,
        "device": tree.get("NVVMIR_LIBRARY_DIR", ""),
        "include": next(iter(includes), os.path.join(os.path.dirname(here), "include")),
    }
    files = [
        path
        for pattern in FILES
        for path in glob.glob(pattern.format_map({k: glob.escape(p) for k, p in places.items()}))
    ]
    folders = [word[2:] for word in shlex.split(tree.get("LIBRARIES", "")) if word[:2] == "-L"]
    files += [os.path.join(folder, name) for name in LIBRARIES for folder in folders]
    present = {os.path.basename(path): path for path in files if os.path.isfile(path)}
    return {name: path for name, path in found.items() if path} | present


def _version(nvcc: str, env: Mapping[str, str]) -> str:
    found = re.search(r"\bV(\d+(?:\.\d+)+)", _ask((nvcc, "--version"), env))
    return found[1] if found else ""


def _arches(nvcc: str, env: Mapping[str, str]) -> list[str]:
    return re.findall(r"^sm_\d+$", _ask((nvcc, "--list-gpu-code"), env), re.MULTILINE)


def _ask(words: tuple[str, ...], env: Mapping[str, str]) -> str:
    """What a command says, on both streams: a dry run answers on the second."""
    answer = run(words, env, "CUDA compiler", "check CUDA_HOME")
    return answer.stdout + answer.stderr
